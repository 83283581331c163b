"""Network functions by the names that the command line uses, and the chain that is built from them."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.nf import NF
from nfactor.errors import CallerError
from nfactor.functions.balancer import Balancer, parse_services
from nfactor.functions.firewall import Firewall, RuleSet, parse_rules
from nfactor.functions.http import Http
from nfactor.functions.ids import Ids
from nfactor.functions.ids_rules import parse_rules as parse_ids_rules
from nfactor.functions.monitor import Monitor
from nfactor.functions.nat import Nat, parse_rules as parse_nat_rules


def _firewall(rules: Path | None) -> Callable[[], NF]:
    parsed = RuleSet() if rules is None else parse_rules(_lines(rules), str(rules))
    return lambda: Firewall(parsed)


def _balancer(rules: Path | None) -> Callable[[], NF]:
    services = [] if rules is None else parse_services(_lines(rules), str(rules))
    return lambda: Balancer(services)


def _nat(rules: Path | None) -> Callable[[], NF]:
    if rules is None:
        raise CallerError(
            "--chain: nat needs rules, which say whose addresses are translated to what: --rules nat=FILE"
        )
    parsed = parse_nat_rules(_lines(rules), str(rules))
    return lambda: Nat(parsed)


def _ids(rules: Path | None) -> Callable[[], NF]:
    parsed = parse_ids_rules([] if rules is None else _lines(rules), "" if rules is None else str(rules))
    return lambda: Ids(parsed)


def _without_rules(name: str, make: Callable[[], NF]) -> Callable[[Path | None], Callable[[], NF]]:
    def function(rules: Path | None) -> Callable[[], NF]:
        if rules is not None:
            raise CallerError(f"--rules {name}=…: {name} takes no rules")
        return make

    return function


FUNCTIONS: Mapping[str, Callable[[Path | None], Callable[[], NF]]] = {
    "firewall": _firewall,
    "monitor": _without_rules("monitor", Monitor),
    "balancer": _balancer,
    "http": _without_rules("http", Http),
    "ids": _ids,
    "nat": _nat,
}
"""By name: takes the rule file, and gives what makes an NF of those rules for each runtime."""


def chain_factory(names: Sequence[str], rules: Mapping[str, Path]) -> Callable[[], Chain]:
    """What makes the chain of those NFs for each runtime. All files are read here, and every mistake is found here.

    Raises ``CallerError`` (``RuleError`` for a bad line of a rule file).
    """
    for name in names:
        if name not in FUNCTIONS and ":" not in name:
            there = ", ".join(FUNCTIONS)
            raise CallerError(
                f"--chain: {name!r} is no network function; there are {there}, and MODULE:CLASS of your own"
            )
    for name in rules:
        if name not in names:
            raise CallerError(f"--rules {name}=…: {name!r} is not in the chain {','.join(names)}")
    makers = [_imported(name, rules.get(name)) if ":" in name else FUNCTIONS[name](rules.get(name)) for name in names]
    Chain.of([make() for make in makers])
    return lambda: Chain.of([make() for make in makers])


def _imported(name: str, rules: Path | None) -> Callable[[], NF]:
    """``MODULE:CLASS``, a network function of the caller's own; modules in the current folder are found too."""
    module_name, _, class_name = name.partition(":")
    if rules is not None:
        raise CallerError(f"--rules {name}=…: only bundled functions take rules here")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise CallerError(f"--chain {name}: cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    cls = getattr(module, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, NF)):
        raise CallerError(
            f"--chain {name}: {module_name} has no network function {class_name!r} (a class derived from nf.NF)"
        )
    try:
        cls()
    except Exception as error:
        raise CallerError(f"--chain {name}: {class_name}() failed: {type(error).__name__}: {error}") from error
    return cls


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{path}: cannot read the rules: {_why(error)}") from None


def _why(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is no UTF-8 text"
