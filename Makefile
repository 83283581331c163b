# Two commands on a fresh machine: `make demo` and `make test`. `make check` is what CI runs. `make help` lists the rest.
#
# Everything runs in a virtual environment, .venv, which the first command makes and which is brought up to date when
# pyproject.toml changes. PYTHON=/path/to/python chooses the interpreter (3.11 or newer).

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test coverage check rest format format-check lint types layers docs examples bench nightly clean

PYTHON ?=
BIN := .venv/bin
STAMP := .venv/.complete
EXAMPLES := $(sort $(wildcard examples/*.py))

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' Makefile

demo: $(STAMP) ## set up everything and run the demo: a real capture, live migration, and the accounting
	$(BIN)/nfactor demo

test: $(STAMP) ## set up everything and run all tests, in as many processes as there are cores
	$(BIN)/python -m pytest -n auto --dist worksteal

coverage: $(STAMP) ## all tests in one process, and which lines they do not run
	$(BIN)/coverage run -m pytest
	@$(BIN)/coverage report | tail -n 60

check: format-check lint types layers test docs examples ## everything that CI runs
rest: format-check lint types layers docs examples ## what `make check` does beside the tests

format: $(STAMP) ## write the code the way the formatter does, and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

format-check: $(STAMP)
	$(BIN)/ruff format --check

lint: $(STAMP) ## ruff
	$(BIN)/ruff check

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## imports go one way (import-linter)
	$(BIN)/lint-imports

docs: $(STAMP) ## build the documentation into docs/_build/html; any warning is an error
	$(BIN)/sphinx-build -n -W --keep-going -q -b html docs docs/_build/html

examples: $(STAMP) ## run every example
	@set -e; for example in $(EXAMPLES); do echo "$$example"; $(BIN)/python $$example; done
	$(BIN)/python examples/captures/summary.py nfactor/cli/captures/demo.pcap

bench: $(STAMP) ## the quick benchmarks: the packet path, and actors beside other libraries
	$(BIN)/python benchmarks/replay.py --quick
	$(BIN)/python benchmarks/actors.py --quick

nightly: $(STAMP) ## all tests with far more examples, drawn anew; 500 schedules of whole nodes under each engine; 120,000 on the heap; fuzzing
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]' && \
	  $(BIN)/python tests/fuzz/actor_decoders.py -max_total_time=120 && \
	  $(BIN)/python tests/fuzz/burst_loop.py -max_total_time=600
	$(BIN)/nfactor simulate all --seeds 0:20000
	$(BIN)/nfactor simulate nodes --seeds 0:500
	HYPOTHESIS_PROFILE=nightly NFACTOR_SEEDS=0:500 NFACTOR_LINK_SCHEDULES=20000 NFACTOR_MODEL=large NFACTOR_MUTANTS=all \
	  NFACTOR_STEPS=1 $(BIN)/python -m pytest -n auto --dist worksteal

clean: ## remove what the commands made, the virtual environment included
	rm -rf .venv build dist docs/_build .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache .nfactor_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted set-up is taken up again. A .venv whose interpreter is gone is made anew.
$(STAMP): pyproject.toml
	@set -e; \
	if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  found=; old=; \
	  for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	    if ! $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then continue; fi; \
	    if $$python -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
	    old=$$python; \
	  done; \
	  if [ -z "$$found" ] && [ -n "$$old" ]; then \
	    echo "make: $$old cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; \
	  elif [ -z "$$found" ]; then \
	    echo "make: nfactor needs Python 3.11 or newer; say where it is with PYTHON=/path/to/python3" >&2; exit 1; \
	  fi; \
	  echo "making .venv with $$found"; \
	  $$found -m venv --clear .venv; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
