"""``docs/explanation/protocols.md`` says what the code does: its tables of states are the code's, its promises those of
the judges, and what it tells of the model is so."""

import re
from pathlib import Path

import attrs

from nfactor.protocols.migration import TABLE, State
from nfactor.protocols.recovery import FOLLOWING, Step
from tests.protocols.model.explore import explore
from tests.protocols.model.test_model import EXPLORED
from tests.protocols.model.variations import VARIATIONS
from tests.protocols.model.world import World

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "explanation" / "protocols.md").read_text("utf-8")


def rows(title: str) -> list[list[str]]:
    """The cells of all tables of a section, row by row, without their headings."""
    section = re.split(rf"^## {title}$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_a_migration_is_the_codes() -> None:
    table, states = {}, {}
    for cells in rows("Migration"):
        name = re.fullmatch(r"`([A-Z]+)`", cells[0])
        if name and len(cells) == 3 and ("→" in cells[2] or not cells[2]):
            states[name[1]] = cells[1].rstrip(".").lower()
            for event, following in re.findall(r"`([A-Z]+)` → `([A-Z]+)`", cells[2]):
                table[name[1], event] = following
    assert [(state.name, state.value.lower()) for state in State] == list(states.items())
    assert {(state.name, event.name): following.name for (state, event), following in TABLE.items()} == table


def test_the_steps_of_a_recovery_are_the_codes() -> None:
    steps = [
        (cells[0].strip("`"), cells[-1].strip("`")) for cells in rows("Death, fencing and recovery") if len(cells) == 4
    ]
    told = [step for step in steps if step[0] in Step.__members__]
    assert [(step.name, FOLLOWING[step].name if step in FOLLOWING else "") for step in Step] == told


def test_every_promise_that_is_judged_is_on_the_page() -> None:
    promises = {(cells[0], cells[1]) for cells in rows("What is promised")}
    judges = [*(REPOSITORY / "nfactor" / "testing").glob("*.py"), *(REPOSITORY / "tests/protocols/model").glob("*.py")]
    judged = {
        found for path in judges for found in re.findall(r"\"(\([a-i]\)) ([a-z][a-z ]+):", path.read_text("utf-8"))
    }
    assert len(judged) > 8
    assert judged <= promises


def test_what_the_page_tells_of_the_model_is_so() -> None:
    name = "marker on the control path"
    refutation = explore(World(attrs.evolve(VARIATIONS[name][0], variation=name)), states_max=10_000).refutation
    assert f"\n{refutation}\n" in PAGE
    assert f"{EXPLORED['two packets'][1][0]:,} of them" in PAGE
    assert len(VARIATIONS) == 18, "eighteen"
