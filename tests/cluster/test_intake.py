"""Packets through the engine of a runtime, in the trio loop and in a worker thread: the same, in the same order."""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import attrs
import numpy as np
import pytest
import trio
import trio.testing

from nfactor.backends.base import JOINED_OCTETS_MAX, JOINED_PACKETS_MAX, LARGE_PACKETS, Port, PortStatistics
from nfactor.cluster.fence import Fence
from nfactor.cluster.intake import BATCH_BURSTS_MAX, BATCH_PACKETS_MAX, Intake, IntakeStatistics
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.plan import switch_member
from nfactor.cluster.worker import Worker
from nfactor.compiled.engine import CompiledEngine
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import Engine
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.errors import CallerError
from nfactor.functions.http import Http
from nfactor.functions.monitor import Monitor
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.check_nf import drawn_frames
from nfactor.testing.packets import burst_of

MAC = bytes(6)
_TILL_PAUSE = 100
ENGINES: tuple[type[CompiledEngine] | type[ReferenceEngine], ...] = (CompiledEngine, ReferenceEngine)


class Arrivals(Port):
    """A port at which these bursts arrive, with a pause behind every hundred."""

    def __init__(self, bursts: Sequence[Burst]) -> None:
        self.address, self.mtu = MAC, 1514
        self._bursts = deque(bursts)
        self._until_pause = _TILL_PAUSE

    def arrive(self, burst: Burst) -> None:
        self._bursts.append(burst)

    def send(self, burst: Burst) -> int:
        raise NotImplementedError

    def receive(self) -> Burst | None:
        self._until_pause -= 1
        return self._bursts.popleft() if self._bursts and self._until_pause >= 0 else None

    async def wait_readable(self) -> None:
        if not self._bursts:
            await trio.sleep_forever()
        self._until_pause = _TILL_PAUSE
        await trio.lowlevel.checkpoint()

    def statistics(self) -> PortStatistics:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Node:
    """What a flow table does around its intake, in short: it writes down what it sees."""

    def __init__(
        self,
        engine: Engine,
        bursts: Sequence[Burst],
        *,
        threaded: bool,
        replicated: bool = False,
        fence: Fence | None = None,
    ) -> None:
        self.engine = engine
        self._fence = fence
        self.packets: list[tuple[int, int, bytes | None]] = []
        """Mark, code and flow of each packet, in order; a marker has a mark of -1 and its migration."""
        self.arrived = self.flushes = self.bursts = 0
        self.expected = sum(map(len, bursts))
        self.is_done = trio.Event()
        self.has_room: Callable[[], bool] = lambda: True
        self.port = Arrivals(bursts)
        self.intake = Intake(
            self.port,
            engine,
            admit=fence.only if fence is not None else lambda burst: burst,
            arrived=self._arrived,
            processed=self._processed,
            marker=self._marker,
            replicated=replicated,
            threaded=threaded,
        )

    def _arrived(self, burst: Burst) -> None:
        self.arrived += len(burst)
        if self._fence is not None:
            self._fence.count(burst)

    def _processed(self, burst: Burst, codes: Any) -> None:
        self.bursts += 1
        keys = self.engine.changes.keys_of(self.engine.touched)
        self.packets += zip(burst.marks.tolist(), codes.tolist(), keys, strict=True)
        assert self.arrived == self.engine.statistics().packets, "what is processed has arrived, and nothing else"
        self._look()

    def _marker(self, frame: bytes) -> None:
        migration = cluster_frame.read_marker(frame)
        assert migration is not None
        self.packets.append((-1, migration, None))
        self._look()

    def _look(self) -> None:
        if len(self.packets) == self.expected:
            self.is_done.set()

    async def room(self) -> None:
        while not self.has_room():
            await trio.lowlevel.checkpoint()

    def flush(self) -> None:
        self.flushes += 1

    async def run(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Until every packet is through."""
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.intake.run, self.room, self.flush)
                while not self.is_done.is_set():
                    meanwhile()
                    await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()


def engine_of(kind: type[CompiledEngine] | type[ReferenceEngine]) -> Engine:
    return kind(Chain.of([Http(), Monitor()]), FlowClassifier("auto"))


def traffic(seed: int, *, bursts: int = 40, markers: bool = True) -> list[Burst]:
    """Bursts of various sizes, markers among and inside of them."""
    rng, marks = Random(seed), 1
    made: list[Burst] = []
    for number in range(bursts):
        frames = drawn_frames(rng, rng.choice((1, 5, 64, 200)))
        frames = [frame.ljust(60, b"\0") for frame in frames]
        burst = burst_of(frames, first_mark=marks)
        marks += len(frames)
        if markers and rng.random() < 0.3:
            (marker,) = cluster_frame.marker(target=MAC, source=MAC, migration=number).frames()
            at = rng.randrange(len(frames) + 1)
            numbers = burst.marks.tolist()
            burst = Burst.from_frames([*frames[:at], marker, *frames[at:]], marks=[*numbers[:at], 0, *numbers[at:]])
        made.append(burst)
    return made


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.trio
async def test_a_worker_thread_sees_packets_and_markers_as_the_loop_does(kind: Any, seed: int) -> None:
    loop, thread = (Node(engine_of(kind), traffic(seed), threaded=threaded) for threaded in (False, True))
    await loop.run()
    await thread.run()
    assert loop.packets == thread.packets
    assert loop.engine.keys() == thread.engine.keys()
    assert loop.engine.take_emitted() == thread.engine.take_emitted()
    assert thread.flushes > 0


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.trio
async def test_whoever_needs_the_engine_at_any_moment_finds_it_free_and_the_packets_in_order(
    kind: Any, seed: int
) -> None:
    loop, thread = (Node(engine_of(kind), traffic(seed), threaded=threaded) for threaded in (False, True))
    await loop.run()

    def ask() -> None:
        thread.intake.settle()
        assert thread.arrived == thread.engine.statistics().packets
        thread.engine.process(burst_of([]))

    await thread.run(ask)
    assert loop.packets == thread.packets


@pytest.mark.trio
@pytest.mark.parametrize(("size", "each"), [(64, BATCH_PACKETS_MAX // 64), (1, BATCH_BURSTS_MAX)])
async def test_bursts_that_wait_are_joined_up_to_a_limit_which_is_counted(size: int, each: int) -> None:
    bursts = [burst_of([frame.ljust(60, b"\0") for frame in drawn_frames(Random(1), size)]) for _ in range(200)]
    node = Node(engine_of(CompiledEngine), bursts, threaded=True)
    await node.run()
    full, rest = divmod(_TILL_PAUSE, each)
    assert IntakeStatistics(bursts=200, batches=2 * (full + (rest > 0)), full=2 * full, stopped=0) == (
        node.intake.statistics()
    )


@pytest.mark.trio
@pytest.mark.parametrize(
    ("replicated", "size", "at_once"),
    [
        (False, 64, JOINED_PACKETS_MAX // 64),
        (True, 64, JOINED_PACKETS_MAX // 64),
        (False, LARGE_PACKETS, 1),
        (True, LARGE_PACKETS, JOINED_PACKETS_MAX // LARGE_PACKETS),
    ],
)
async def test_bursts_that_wait_are_joined_and_large_ones_where_flows_are_replicated(
    replicated: bool, size: int, at_once: int
) -> None:
    burst = burst_of([frame.ljust(60, b"\0") for frame in drawn_frames(Random(1), size)])
    node = Node(engine_of(CompiledEngine), [burst] * 200, threaded=False, replicated=replicated)
    await node.run()
    full, rest = divmod(_TILL_PAUSE, at_once)
    assert node.bursts == 2 * (full + (rest > 0))


@pytest.mark.trio
async def test_parts_of_one_large_buffer_count_as_what_they_are() -> None:
    """As bursts of a capture, or of what a switch has dealt out: each has all of the octets behind it."""
    burst = burst_of([frame.ljust(60, b"\0") for frame in drawn_frames(Random(1), 64)])
    behind = np.zeros(JOINED_OCTETS_MAX, np.uint8)
    part = attrs.evolve(burst, data=np.concatenate((burst.data, behind)))
    node = Node(engine_of(CompiledEngine), [part] * 200, threaded=False)
    await node.run()
    full, rest = divmod(_TILL_PAUSE, JOINED_PACKETS_MAX // 64)
    assert node.bursts == 2 * (full + (rest > 0))


def test_bursts_are_joined_until_there_are_so_many_octets() -> None:
    frame = bytes(1 << 18)
    port = Arrivals([burst_of([frame])] * (JOINED_OCTETS_MAX // len(frame) + 1))
    taken = [port.receive_joined(large=False) for _ in range(3)]
    assert [JOINED_OCTETS_MAX // len(frame), 1, None] == [each and len(each) for each in taken]


@pytest.mark.trio
async def test_who_comes_while_a_batch_is_worked_on_stops_it_and_the_rest_follows() -> None:
    node = Node(engine_of(CompiledEngine), traffic(1, markers=False), threaded=True)
    node.intake.settle()
    await node.run(node.intake.settle)
    assert node.intake.statistics().stopped > 0
    assert [mark for mark, _, _ in node.packets] == list(range(1, node.expected + 1))


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.trio
async def test_nothing_is_processed_before_there_is_room(threaded: bool) -> None:
    node = Node(engine_of(CompiledEngine), traffic(2), threaded=threaded)
    looks = 0

    def has_room() -> bool:
        nonlocal looks
        looks += 1
        assert node.packets == [] or looks > 5
        return looks > 5

    node.has_room = has_room
    await node.run()
    assert len(node.packets) == node.expected


@pytest.mark.trio
async def test_what_waits_for_room_when_its_switch_begins_again_is_not_processed() -> None:
    """A worker thread was given it all the same: it had been let in before. Nobody knew any more whose it was."""
    old, new = switch_member(0, 1), switch_member(0, 2)
    before, after = traffic(1, bursts=2, markers=False)
    cluster_frame.readdress(before, target=MAC, source=old.address)
    cluster_frame.readdress(after, target=MAC, source=new.address)
    fence = Fence(Ledger("runtime-0"))
    fence.admit([old])
    node = Node(engine_of(CompiledEngine), [before], threaded=True, replicated=True, fence=fence)
    node.expected = len(after)

    def has_room() -> bool:
        if fence.admit([new]):  # as the view is taken
            node.port.arrive(after)
        return True

    node.has_room = has_room
    await node.run()
    assert after.marks.tolist() == [mark for mark, _, _ in node.packets]


@pytest.mark.trio
async def test_what_the_engine_raises_comes_to_who_takes_the_burst() -> None:
    bad = burst_of(drawn_frames(Random(1), 4))
    bad.offsets[2] = 1 << 40
    worker = Worker(engine_of(CompiledEngine))
    worker.give(bad)
    await worker.wait()
    with pytest.raises(CallerError, match="outside its data"):
        worker.take()
    assert not worker.busy
    worker.close()


@pytest.mark.trio
async def test_a_worker_that_is_closed_leaves_the_engine_to_others() -> None:
    engine, burst = engine_of(CompiledEngine), burst_of(drawn_frames(Random(1), 500))
    worker = Worker(engine)
    worker.give(burst)
    worker.close()
    assert len(engine.process(burst)) == 500


def test_a_worker_whose_loop_is_over_ends() -> None:
    async def abandoned() -> Worker:
        return Worker(engine_of(ReferenceEngine))

    worker = trio.run(abandoned)
    worker.give(burst_of(drawn_frames(Random(1), 4)))
    worker._thread.join(5)
    assert not worker._thread.is_alive()
    assert np.array_equal(worker.take()[1], engine_of(ReferenceEngine).process(burst_of(drawn_frames(Random(1), 4))))
