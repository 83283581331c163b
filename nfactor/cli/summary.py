"""What ``demo`` and ``replay`` print at the end: where every packet went, and the sum that proves it."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from nfactor.cluster.replay import Outcome


def print_summary(console: Console, outcome: Outcome, flows: int | None) -> None:
    """Packets per node, migrations, and the accounting identity. ``flows`` None: no monitor was in the chain."""
    table = Table(
        title="packets per node (the switch sees each in both directions)", title_justify="left", pad_edge=False
    )
    for heading in ("node", "received", "sent on", "dropped", "most held at once"):
        table.add_column(heading, justify="left" if heading == "node" else "right")
    for node in outcome.nodes:
        dropped = sum(node.dropped.values())
        table.add_row(node.node, *(f"{count:,}" for count in (node.received, node.sent, dropped, node.buffered_max)))
    console.print(table)
    if flows is not None:
        console.print(f"flows: {flows:,}")
    counts = outcome.migrations
    if counts.started:
        console.print(
            f"migrations: {counts.completed:,} completed, {counts.failed:,} failed, {counts.flows:,} flows moved; "
            f"at most {outcome.buffered_max:,} packets waited at a target"
        )
    for event in outcome.recovered:
        lost = outcome.lost.get(event.node, [])
        console.print(
            f"{event.node} died: {event.flows:,} flows recovered {event.seconds:.2f} s after its last sign of life; "
            f"{len(lost):,} packets died with it{_spans(lost)}"
        )
    if outcome.unprotected_packets:
        console.print(
            f"unprotected: {outcome.unprotected_packets:,} packets went out while there was no replica, for "
            f"{outcome.unprotected_s:.4f} s"
        )
    _print_nf_errors(console, outcome)
    for reason, count in sorted(outcome.dropped.items()):
        console.print(f"dropped as {reason}: {count:,}")
    console.print(
        f"accounting: {outcome.packets_in:,} in + {outcome.created:,} created = {outcome.packets_out:,} out + "
        f"{outcome.absorbed:,} absorbed + {sum(outcome.dropped.values()):,} dropped + {outcome.buffered:,} buffered"
        + (f" + {sum(map(len, outcome.lost.values())):,} lost with a node" if outcome.lost else "")
    )


def _spans(marks: list[int]) -> str:
    """Where in the input they were."""
    return f" (between frames {marks[0]:,} and {marks[-1]:,})" if marks else ""


def _print_nf_errors(console: Console, outcome: Outcome) -> None:
    """What went wrong inside network functions, with the first traceback: its author has to see it."""
    counts: Counter[str] = Counter()
    for node in outcome.nodes:
        counts.update(node.nf_errors)
    for name, count in sorted(counts.items()):
        console.print(f"the network function {name} raised {count:,} exceptions; the first:")
    sample = next((node.nf_error_sample for node in outcome.nodes if node.nf_error_sample), "")
    if sample:
        console.print(sample.rstrip(), markup=False)
