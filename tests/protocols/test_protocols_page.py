"""``docs/explanation/protocols.md`` says what the code does: its tables of states are the code's, its promises those of
the judges, its numbers those of the limits, and what it tells of the model is so."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from nfactor.cluster import backlog, expiry, liaison, membership, replica_table
from nfactor.dataplane.ends import ENDED_REMEMBER_S
from nfactor.dataplane.engine import Status
from nfactor.dataplane.owners import SETTLE_S
from nfactor.protocols import calls, migration, replication
from nfactor.protocols.recovery import FOLLOWING, Step
from nfactor.testing import schedules
from tests.cluster import machines as of_clusters
from tests.protocols import machines as of_protocols
from tests.protocols.machines import Table
from tests.protocols.model.explore import explore
from tests.protocols.model.test_model import EXPLORED
from tests.protocols.model.variations import VARIATIONS
from tests.protocols.model.world import World

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "explanation" / "protocols.md").read_text("utf-8")
FLAT = " ".join(PAGE.split())
MACHINES = {**of_protocols.MACHINES, **of_clusters.MACHINES}
STEP = re.compile(r"(?:`(?P<name>[^`]+)`)?(?P<rest>[^`→]*) → `(?P<following>\w+)`(?:, )?")


def tables(text: str) -> Iterator[list[list[str]]]:
    """The tables of a text: the cells of each row, the heading first."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [line for line in table.splitlines() if not line.startswith("|---")]
        yield [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def section(title: str) -> str:
    """The text of a section, with those inside it."""
    return re.split(rf"^## {title}$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of all tables of a section, row by row."""
    return [cells for table in tables(section(title)) for cells in table]


def states() -> dict[str, dict[str, str]]:
    """By machine, what each of its states means."""
    return {
        table[0][0]: {cells[0].strip("`"): cells[1] for cells in table[1:]}
        for table in tables(PAGE)
        if table[0][1:] == ["what it means", "what can happen"]
    }


def transitions(machine: str) -> Table:
    """What can happen in each of its states."""
    found = {}
    for table in tables(PAGE):
        for state, _, steps in table[1:] if table[0][0] == machine else ():
            for step in STEP.finditer(steps):
                event = f"{step['name'] or ''}{step['rest']}".strip()
                found[state.strip("`"), event] = step["following"]
    return found


def test_the_table_of_a_migration_is_the_codes() -> None:
    machine = "set, at its source"
    assert {(state.name, event.name): following.name for (state, event), following in migration.TABLE.items()} == (
        transitions(machine)
    )
    meanings = {state: meaning.rstrip(".").lower() for state, meaning in states()[machine].items()}
    assert {state.name: state.value.lower() for state in migration.State} == meanings


@pytest.mark.parametrize(
    "machine", [pytest.param(name, marks=[pytest.mark.slow] if "switch" in name else []) for name in MACHINES]
)
def test_a_table_of_states_says_what_the_code_does_in_each(machine: str) -> None:
    assert MACHINES[machine]() == transitions(machine)


@pytest.mark.parametrize("machine", of_clusters.WATCHED)
def test_a_cluster_goes_through_the_states_of_the_table_in_its_order(machine: str) -> None:
    went = of_clusters.WATCHED[machine]()
    assert went == list(states()[machine])
    assert set(pairwise(went)) == {(state, following) for (state, _), following in transitions(machine).items()}


def test_every_table_of_states_is_compared_with_the_code() -> None:
    assert {"set, at its source", *MACHINES, *of_clusters.WATCHED} == set(states())
    for machine, known in states().items():
        named = {name for (state, _), following in transitions(machine).items() for name in (state, following)}
        assert named == set(known), machine


def test_the_steps_of_a_recovery_are_the_codes() -> None:
    steps = [
        (cells[0].strip("`"), cells[-1].strip("`")) for cells in rows("Death, fencing and recovery") if len(cells) == 4
    ]
    told = [step for step in steps if step[0] in Step.__members__]
    assert [(step.name, FOLLOWING[step].name if step in FOLLOWING else "") for step in Step] == told


def test_the_modes_of_replication_are_the_codes() -> None:
    (modes,) = (table for table in tables(section("Replication")) if table[0][0] == "mode")
    assert [kind.value for kind in replication.Kind] == [cells[0].strip("`").partition("=")[0] for cells in modes[1:]]


def test_the_answers_of_a_switch_are_statuses() -> None:
    answers = [cells[0] for title in ("Death, fencing and recovery", "The end of a flow") for cells in rows(title)]
    told = [answer for answer in answers if re.fullmatch("[A-Z]+", answer)]
    assert ["OK", "EXISTS", "UNKNOWN", "STALE", "OK", "BUSY", "UNKNOWN"] == told
    assert set(told) <= set(Status.__members__)


def test_every_promise_that_is_judged_is_on_the_page() -> None:
    promises = {(cells[0], cells[1]) for cells in rows("What is promised") if cells[0]}
    judges = [*(REPOSITORY / "nfactor" / "testing").glob("*.py"), *(REPOSITORY / "tests/protocols/model").glob("*.py")]
    judged = {
        found for path in judges for found in re.findall(r"\"(\([a-z]\)) ([a-z][a-z ]+):", path.read_text("utf-8"))
    }
    assert judged == promises, "and every promise on the page is judged"


def test_each_protocol_says_which_promises_it_serves() -> None:
    """Nobody has to guess what a step is for, and no promise is nobody's."""
    promised = {cells[0] for cells in rows("What is promised") if cells[0]}
    protocols = re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]
    served = {}
    for text in protocols:
        if promise := re.search(r"^Promise: (.*?)\n\n", text, re.MULTILINE | re.DOTALL):
            served[text.partition("\n")[0]] = set(re.findall(r"\([a-k]\)", promise[1]))
    assert all(served.values())
    assert promised == set.union(*served.values())
    drawn = {text.partition("\n")[0] for text in protocols if "```\n" in text} - {"The model"}
    assert drawn <= served.keys(), "a protocol with a picture"


LIMITS = [
    (calls.RESEND_AFTER_S, 0.25, "asked again, a quarter to half a second later"),
    (replication.RESEND_COMMITS_S, 0.25, "confirmed nothing for a quarter of a second"),
    (replication.EVERY_MS, 100, "(`every=K`: 100 ms)"),
    (backlog.UNSTORED_COMMITS_MAX, 1024, "unless 1,024 commits are under way"),
    (backlog.UNSTORED_PACKETS_MAX, 8192, "8,192 packets"),
    (backlog.UNSTORED_OCTETS_MAX, 16 << 20, "16 MiB"),
    (liaison.HEARTBEAT_S, 0.1, "ten times a second"),
    (liaison.MARKER_AGAIN_S, 0.2, "0.2 s after its answer"),
    (liaison.MIGRATION_BATCH_FLOWS_MAX, 500, "a migration of up to 500 flows"),
    (liaison.REPORT_BATCH_FLOWS_MAX, 4096, "which flows it has, up to 4,096 at a time"),
    (replica_table.RECOVERY_BATCH_FLOWS_MAX, 4096, "each replica claims up to 4,096 flows"),
    (membership.DEAD_AFTER_S, 1.0, "not heard of for a second"),
    (membership.DRAIN_S, 0.05, "declared dead 50 ms later"),
    (schedules.UNSEEN_S, membership.DEAD_AFTER_S, "seen within 1 s"),
    (schedules.QUIET_S, 5.0, "mended within 5 s more"),
    (schedules.QUIET_S, 5.0, "5 s after the last fault"),
    (schedules.QUIET_S + schedules.UNSEEN_S, 6.0, "6 s if the coordinator has not seen a death by then"),
    (ENDED_REMEMBER_S, 10.0, "known for 10 s at least where it ended"),
    (SETTLE_S, 1.0, "taken packets from its port for a second since the second"),
    (expiry.IDLE_FLOWS_MAX, 1024, "about up to 1,024 flows"),
]


@pytest.mark.parametrize(("limit", "value", "said"), LIMITS, ids=[said for _, _, said in LIMITS])
def test_a_number_on_the_page_is_the_codes(limit: float, value: float, said: str) -> None:
    assert (value, True) == (limit, said in FLAT)


def test_what_the_page_tells_of_the_model_is_so() -> None:
    name = "marker on the control path"
    refutation = explore(World(attrs.evolve(VARIATIONS[name][0], variation=name)), states_max=10_000).refutation
    assert f"\n{refutation}\n" in PAGE
    assert f"{EXPLORED['two packets'][1][0]:,} of them" in PAGE
    assert len(VARIATIONS) == 18, "eighteen"
    model = [path for path in (REPOSITORY / "tests/protocols/model").glob("*.py") if not path.match("test_*")]
    lines = sum(bool(line.strip()) for path in model for line in path.read_text("utf-8").splitlines())
    assert 14 == lines // 100, "fourteen hundred lines and some"
