"""``nfactor demo``: the whole story on a capture that the project recorded itself.

Two runtimes between which flows migrate, each the replica of the other; one of them is killed, and its flows go on at
the other. No arguments and no root: the same path as ``nfactor replay``, with somebody watching."""

from importlib.resources import as_file, files
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from nfactor.cli.functions import chain_factory
from nfactor.cli.options import ReplayOptions
from nfactor.cli.replay import Captures, Results, run
from nfactor.cli.report import Rows
from nfactor.cli.summary import print_summary
from nfactor.cluster.messages import MigrationEnded
from nfactor.cluster.outside import Event, NodeKilled
from nfactor.cluster.recovery_messages import NodeRecovered
from nfactor.packet.capture import open_capture
from nfactor.protocols.replication import Mode

RUNTIMES = 2
CHAIN = ("firewall", "monitor", "http", "ids")
MIGRATIONS = 16
"""Migrations that are begun while the capture runs."""
KILL_AFTER = 0.6
"""The share of the packets after which a runtime is killed."""


def demo() -> int:
    """The command. Returns the exit status."""
    resources = files("nfactor.cli") / "captures"
    with (
        as_file(resources / "demo.pcap") as capture,
        as_file(resources / "demo.rules") as rules,
        as_file(resources / "demo.ids.rules") as ids_rules,
    ):
        return _demo(capture, {"firewall": rules, "ids": ids_rules})


def _demo(capture: Path, rules: dict[str, Path]) -> int:
    console = Console(soft_wrap=True, highlight=False)
    packets = _count(capture)
    options = ReplayOptions(
        captures=(capture,),
        chain=CHAIN,
        rules=rules,
        runtimes=RUNTIMES,
        migrate_every=max(1, packets // (MIGRATIONS + 1)),
        replication=Mode.parse("strict"),
        kill_runtime_at=int(packets * KILL_AFTER),
    )
    make_chain = chain_factory(options.chain, options.rules)
    console.print(
        f"{packets:,} recorded packets, one virtual switch, {RUNTIMES} runtimes, {' → '.join(CHAIN)}; "
        "strict replication"
    )
    rows = Rows()
    bar = Progress(
        TextColumn("packets"), BarColumn(), MofNCompleteColumn(), console=console, disable=not console.is_terminal
    )
    with open_capture(capture) as reader, bar:
        task = bar.add_task("packets", total=packets)
        source = Captures([reader])

        def watch(event: Event) -> None:
            console.print(f"  packet {source.packets:>6,}: {_told(event)}")

        outcome = run(
            options, make_chain, source, Results(rows, None, watch), lambda: bar.update(task, completed=source.packets)
        )
    print_summary(console, outcome, rows.count("flows"))
    console.print(f"HTTP: {rows.count('requests'):,} requests, {rows.count('responses'):,} responses")
    for alert in rows.alerts():
        console.print(f"IDS: rule {alert['sid']} alerted {alert['count']:,} times")
    rows.close()
    return 0


def _told(event: Event) -> str:
    match event:
        case NodeKilled():
            return (
                f"{event.node} is killed with {event.flows} flows and {event.inside:,} packets in flight: its ports "
                "are cut, its memory is overwritten"
            )
        case NodeRecovered():
            return (
                f"{event.flows:,} flows of {event.node} go on at their replicas, {event.seconds:.2f} s after its last "
                "sign of life"
            )
        case MigrationEnded():
            stayed = f"; {event.failed:,} stayed" if event.failed else ""
            return (
                f"{event.flows:,} flows moved from {event.source} to {event.target} while {event.buffered:,} of their "
                f"packets waited there{stayed}"
            )


def _count(capture: Path) -> int:
    with open_capture(capture) as reader:
        count = 0
        while (burst := reader.read_burst(256)) is not None:
            count += len(burst)
    return count
