"""``nfactor replay``: carries captures through a cluster in memory and reports on every packet.

Everything that can be wrong with the call is found before the first packet, and output files appear whole or not at
all: they are written under another name and renamed at the end.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, TextIO

import attrs
import trio
from rich.console import Console

from nfactor.backends.memory import open_memory_network
from nfactor.backends.zmq import open_zmq
from nfactor.cli.functions import chain_factory
from nfactor.cli.options import ReplayOptions
from nfactor.cli.plan import plan_of
from nfactor.cli.processes import Processes, ProcessWorld, address_book
from nfactor.cli.report import Rows, row_sections, sections, write_report
from nfactor.cli.summary import print_summary
from nfactor.cli.worlds import CONTROL_LATENCY_S, DATA_LATENCY_S, MemoryWorld
from nfactor.cluster import replay as cluster_replay
from nfactor.cluster.launcher import open_cluster
from nfactor.cluster.outside import Event
from nfactor.cluster.plan import ClusterPlan
from nfactor.cluster.replay import Outcome, Pace
from nfactor.dataplane.chain import Chain
from nfactor.errors import CallerError
from nfactor.packet.burst import Burst
from nfactor.packet.capture import CaptureReader, CaptureWriter, open_capture
from nfactor.testing import Simulation, simulate

GARBAGE_PACKETS = 1 << 16
"""Garbage is collected each time so many packets have been fed: at the same packet in every run."""


class Captures:
    """Several captures, one after the other; marks go on counting."""

    def __init__(self, readers: Sequence[CaptureReader]) -> None:
        self._waiting = list(readers)
        self._packets = 0
        self._before = 0
        self.readers = tuple(readers)

    def read_burst(self, packets_max: int) -> Burst | None:
        """See ``Source``."""
        while self._waiting:
            burst = self._waiting[0].read_burst(packets_max)
            if burst is not None:
                self._packets += len(burst)
                return attrs.evolve(burst, marks=burst.marks + self._before) if self._before else burst
            self._waiting.pop(0)
            self._before = self._packets
        return None

    @property
    def packets(self) -> int:
        """Packets read so far."""
        return self._packets

    def problems(self) -> list[str]:
        """One line for each capture that was cut short."""
        return [f"{reader.path}: {reader.problem}" for reader in self.readers if reader.truncated]


@attrs.define
class Results:
    """Takes what comes out of the cluster: packets to the writer, rows to the report, events to whoever watches."""

    rows: Rows
    writer: CaptureWriter | None
    watch: Callable[[Event], None]

    def packets_out(self, burst: Burst) -> None:
        """See ``Sink``."""
        if self.writer is not None:
            self.writer.write(burst)

    def record(self, node: str, record: Any) -> None:
        """See ``Sink``."""
        self.rows.add(record, node)

    def happened(self, event: Event) -> None:
        """See ``Sink``."""
        self.watch(event)


def run(
    options: ReplayOptions,
    make_chain: Callable[[], Chain],
    source: Captures,
    results: Results,
    progress: Callable[[], None],
) -> Outcome:
    """The cluster of ``options``, from the first packet to the accounting."""
    plan = plan_of(options, make_chain)
    pace = Pace.of(options.migrate_every, CONTROL_LATENCY_S, options.kill_runtime_at)
    if options.processes:
        return trio.run(_run_processes, options, plan, pace, source, results, progress)

    async def main(simulation: Simulation) -> Outcome:
        network = open_memory_network(
            rng=simulation.random("network"), data_latency_s=DATA_LATENCY_S, control_latency_s=CONTROL_LATENCY_S
        )
        collected = 0

        def between() -> None:
            nonlocal collected
            progress()
            if source.packets - collected >= GARBAGE_PACKETS:
                simulation.collect_garbage()
                collected = source.packets

        async with network as fabric:
            opened = open_cluster(
                MemoryWorld(fabric),
                plan,
                results,
                window_packets_max=pace.window_packets,
                remember=pace.kill_at > 0,
            )
            async with opened as cluster:
                return await cluster_replay.replay(cluster, source, pace, between=between)

    return simulate(main, seed=options.seed, digest=False).value


async def _run_processes(
    options: ReplayOptions,
    plan: ClusterPlan,
    pace: Pace,
    source: Captures,
    results: Results,
    progress: Callable[[], None],
) -> Outcome:
    """The same with every node in a process of its own, on the real clock."""
    with TemporaryDirectory(prefix="nfactor-") as name:
        folder = Path(name)
        async with open_zmq(address_book(folder, plan)) as network:
            opened = open_cluster(
                ProcessWorld(network),
                plan,
                results,
                window_packets_max=pace.window_packets,
                remember=pace.kill_at > 0,
                launcher=Processes(folder, options.words),
            )
            async with opened as cluster:
                return await cluster_replay.replay(cluster, source, pace, between=progress)


class _Atomic(AbstractContextManager[TextIO]):
    """A text file that appears under its name when the block ends well, and not at all when it does not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._file = self._part.open("w", encoding="utf-8")
        except OSError as error:
            raise CallerError(f"{path}: cannot write there: {error.strerror}") from None

    def __enter__(self) -> TextIO:
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)


def _writer(path: Path, readers: Sequence[CaptureReader]) -> CaptureWriter:
    """A file like the captures; pcapng where they are not alike, for pcap holds one link type."""
    if len({(reader.format, reader.linktype) for reader in readers}) == 1:
        return CaptureWriter(
            path,
            format=readers[0].format,
            linktype=readers[0].linktype,
            nanoseconds=any(reader.nanoseconds for reader in readers),
        )
    return CaptureWriter(path, format="pcapng")


def replay(options: ReplayOptions) -> int:
    """The command. Returns the exit status."""
    make_chain = chain_factory(options.chain, options.rules)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with ExitStack() as stack:
        readers = [stack.enter_context(open_capture(path)) for path in options.captures]
        report = stack.enter_context(_Atomic(options.report)) if options.report is not None else None
        writer = stack.enter_context(_writer(options.out, readers)) if options.out is not None else None
        source = Captures(readers)
        rows = Rows()
        stack.callback(rows.close)
        with console.status("0 packets") as status:  # shows nothing where stderr is no terminal
            outcome = run(
                options,
                make_chain,
                source,
                Results(rows, writer, lambda event: None),
                lambda: status.update(f"{source.packets:,} packets"),
            )
        if options.kill_runtime_at > source.packets:
            console.print(
                f"nfactor: warning: --kill-runtime-at {options.kill_runtime_at}: there were only {source.packets:,} "
                "packets; nothing was killed",
                style="yellow",
            )
        for problem in source.problems():
            console.print(f"nfactor: warning: {problem}; what stands before the cut was processed", style="yellow")
        filled = row_sections(rows, make_chain().functions)
        if report is not None:
            write_report(report, sections(outcome, truncated=bool(source.problems())) | filled)
        print_summary(
            Console(soft_wrap=True, highlight=False), outcome, rows.count("flows") if "flows" in filled else None
        )
    return 0
