"""The machines of the protocols that are no table in the code, made into tables: each is put into each of its states,
everything that can happen is done to it, and what it is then, or says, is noted. What changes nothing is no row.

They are under the names by which ``docs/explanation/protocols.md`` heads its tables.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import numpy as np

from nfactor.dataplane import flow_row
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.dataplane.shared import Pool
from nfactor.functions.monitor import Monitor
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.calls import RESEND_AFTER_S, Address, Answerer, Caller, Question
from nfactor.protocols.leasing import Holder, LeaseBook
from nfactor.testing.packets import burst_of, udp
from tests.cluster.test_replicator import NAMES, World

Table: TypeAlias = dict[tuple[str, str], str]
"""By state and what happens: the state that follows."""
SOME = Address("other", "role")


def tabled(states: Iterable[str], events: Iterable[str], do: Callable[[str, str], tuple[str, bool]]) -> Table:
    """``do`` brings a machine to a state, does something to it, and says in which state it is then and whether anything
    is seen of that besides."""
    table = {}
    for state in states:
        for event in events:
            following, seen = do(state, event)
            if following != state or seen:
                table[state, event] = following
    return table


def question_asked() -> Table:
    """``Caller``."""

    def do(state: str, event: str) -> tuple[str, bool]:
        seen: list[object] = []
        caller = Caller(lambda to, question: seen.append(question))
        caller.ask(SOME, b"", seen.append, 0.0)
        if state == "over":
            caller.answered(1, b"")
        seen.clear()
        match event:
            case "resend":
                caller.resend(RESEND_AFTER_S)
            case "answered":
                caller.answered(1, b"")
            case "gone":
                caller.gone(SOME.node)
        return "open" if len(caller) else "over", bool(seen)

    return tabled(("open", "over"), ("resend", "answered", "gone"), do)


def question_taken() -> Table:
    """``Answerer``."""

    def do(state: str, event: str) -> tuple[str, bool]:
        said: list[bytes] = []
        answerer = Answerer(lambda asker, life, number, body: said.append(body))

        def take(number: int = 1, settled: int = 1) -> bool:
            return answerer.take(SOME, 1, Question(number, settled, True, b""))

        take(0)  # its asker is known
        if state in ("acting", "answered"):
            take()
        if state == "answered":
            answerer.answer(SOME, 1, 1, b"")
        if state == "settled":
            take(2, settled=2)
        said.clear()
        new = event == "take" and take()
        if event == "answer" and state != "answered":  # nobody answers twice
            answerer.answer(SOME, 1, 1, b"")
        if event == "a later one settles it":
            take(3, settled=2)
        known = answerer._askers[SOME]
        if known.settled > 1:
            return "settled", bool(said)
        if 1 not in known.answers:
            return "unknown", bool(said)
        return "acting" if known.answers[1] is None else "answered", new or bool(said)

    return tabled(
        ("unknown", "acting", "answered", "settled"), ("take", "answer", "a later one settles it"), do
    )  # fmt: skip


PHASES: Final = {flow_row.ACTIVE: "ACTIVE", flow_row.LEAVING: "LEAVING", flow_row.HELD: "HELD", flow_row.GONE: "GONE"}


def flow_at_runtime() -> Table:
    """The phases of an engine."""
    burst = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 9, b"")])

    def do(state: str, event: str) -> tuple[str, bool]:
        engine = ReferenceEngine(Chain.of([Monitor()]), FlowClassifier("auto"), common_clock=True)
        engine.process(burst)
        keys, epochs = engine.keys(), np.array([2], np.uint32)
        record = engine.copy(keys)[1]
        for action in _ways_to(engine, keys)[state]:
            action()
        _do_to_flow(engine, keys, epochs, record, event)
        row = engine._rows.get(keys[0])
        return "unknown" if row is None else PHASES[row.phase], False

    def _do_to_flow(engine: ReferenceEngine, keys: FlowKeys, epochs: Any, record: Any, event: str) -> None:
        match event:
            case "a packet":
                engine.process(burst)
            case "hold" | "hold of a higher epoch":
                engine.hold(keys, epochs if "higher" in event else epochs - 1)
            case "install":
                engine.install(keys, epochs, record)
            case "pick":
                engine.pick(1)
            case "idle":
                engine._clock_ns = 1 << 60
                engine.idle(8)
            case "expire":
                engine.expire(keys)
            case "expire as more packets came":
                engine.expire(keys, np.array([0], np.uint32))
            case _:
                getattr(engine, event)(keys)

    events = (
        "a packet", "hold", "hold of a higher epoch", "install", "release", "pick", "idle", "unpin", "depart", "forget",
        "expire", "expire as more packets came",
    )  # fmt: skip
    table = tabled(("unknown", *PHASES.values()), events, do)
    assert "HELD" == table.pop(("unknown", "hold of a higher epoch"))  # of whatever epoch
    return table


def _ways_to(engine: ReferenceEngine, keys: FlowKeys) -> dict[str, list[Callable[[], object]]]:
    """From a flow that processes packets, in its first epoch."""
    first = np.array([1], np.uint32)
    unknown = [lambda: engine.expire(keys)]
    return {
        "ACTIVE": [],
        "LEAVING": [lambda: engine.pick(1)],
        "GONE": [lambda: engine.pick(1), lambda: engine.depart(keys)],
        "unknown": [*unknown],
        "HELD": [*unknown, lambda: engine.hold(keys, first)],
    }


def commit_at_primary() -> Table:
    """``Replicator`` under ``strict-hold``."""
    one, another = NAMES[:2]

    def do(state: str, event: str) -> tuple[str, bool]:
        world = World("strict-hold")
        world.view([] if state == "homeless" else [one])
        world.packets([1])
        if state == "over":
            world.store(one)
            world.tell(one)
        seen = world.replicator.resent
        match event:
            case "there is a replica":
                world.view([one])
            case "resend":
                world.now = 1.0
                world.replicator.resend()
            case "stored":
                world.store(one)
                world.tell(one)
            case "the replica is dead and there is another":
                world.view([another])
            case "the replica is dead and there is none":
                world.view([])
        replicator = world.replicator
        moved = bool(world.replicas[another].under_way)
        if replicator.homeless:
            return "homeless", False
        kept = any(commit.burst.marks.size for channel in replicator._channels.values() for commit in channel)
        return ("kept", moved or replicator.resent > seen) if kept else ("over", False)

    events = (
        "there is a replica", "resend", "stored", "the replica is dead and there is another",
        "the replica is dead and there is none",
    )  # fmt: skip
    table = tabled(("homeless", "kept", "over"), events, do)
    assert "kept" == table.pop(("homeless", "the replica is dead and there is another"))  # the first one it has
    return table


def number_in_book() -> Table:
    """``LeaseBook``."""
    holder, giver = Holder("a", 1), Holder("b", 1)

    def do(state: str, event: str) -> tuple[str, bool]:
        book, living, passed_on = LeaseBook([]), [holder, giver], {}
        if state != "free":
            book.lease("pool", 1, 1, holder, 1)
        if state == "quarantined" or event == "its holder dies":
            living.remove(holder)
        if event == "lease":
            book.lease("pool", 1, 1, giver, 1)
        if event == "give_back":
            passed_on = book.give_back("pool", giver, 1, [0], lambda who: who in living)
        if not book._pools or not book.held("pool"):
            return "free", bool(passed_on)
        return "held" if next(iter(book.held("pool").values())) in living else "quarantined", bool(passed_on)

    return tabled(("free", "held", "quarantined"), ("lease", "give_back", "its holder dies"), do)


def number_in_pool() -> Table:
    """``Pool``, where numbers are leased."""

    def do(state: str, event: str) -> tuple[str, bool]:
        pool = Pool(1)
        pool.lease()
        pool.put([0])
        for way in {"free": (), "out": ("take",), "resting": ("take", "give_back")}[state]:
            _do_to_number(pool, way)
        if (state, event) != ("free", "put") and (state, event) != ("resting", "put"):  # nobody puts it in twice
            _do_to_number(pool, event)
        return "free" if pool.free else "resting" if len(pool.collect()) else "out", False

    return tabled(("free", "out", "resting"), ("take", "give_back", "collect", "put"), do)


def _do_to_number(pool: Pool, event: str) -> None:
    match event:
        case "take":
            pool.take()
        case "give_back":
            pool.give_back(0)
        case "collect":
            pool.collect()
        case "put":
            pool.put([0])


MACHINES: Final[dict[str, Callable[[], Table]]] = {
    "question, at its asker": question_asked,
    "question, at its answerer": question_taken,
    "flow, at a runtime": flow_at_runtime,
    "commit, at the primary (`strict-hold`)": commit_at_primary,
    "number, in the leaser's book": number_in_book,
    "number, in the pool of its holder": number_in_pool,
}
