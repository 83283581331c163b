"""What happened in a run, line by line, for whoever looks into a violation: messages, bursts, and faults."""

from collections.abc import Callable
from functools import partial
from typing import Any

from nfactor.packet.burst import Burst
from nfactor.testing.heap import Delivery
from nfactor.testing.schedules import Run

UNTOLD = ("Heartbeat", "SignHeard")
"""Messages that say nothing but that time passes."""


def follow(run: Run, tell: Callable[[str], object]) -> None:
    """Call ``tell`` with a line for each thing that happens in that run, from its beginning on. Times are in
    milliseconds since its traffic began; messages have the numbers by which a schedule says when a node dies."""
    network, cluster = run.network, run.cluster
    start_us, base = network.now_us, network.delivered
    before, arrived = network.before, network.arrived

    def say(what: str) -> None:
        tell(f"{(network.now_us - start_us) / 1000:11.3f} ms  {what}")

    def message(delivery: Delivery) -> None:
        if delivery.kind not in UNTOLD:
            say(f"{delivery.sender} -> {delivery.receiver}: {delivery.kind} ({delivery.number - base})")
        before(delivery)

    def packets(sender: str, receiver: str, burst: Burst) -> None:
        marks = [str(mark) if mark else "marker" for mark in burst.marks.tolist()]
        say(f"{sender} => {receiver}: {'packet' if len(marks) == 1 else 'packets'} {', '.join(marks)}")
        arrived(sender, receiver, burst)

    def fault(act: Callable[..., None], what: str, name: str, **how: Any) -> None:
        say(f"{name} {what}")
        act(name, **how)

    network.before, network.arrived = message, packets
    for owner, act, what in (
        (cluster, "kill", "dies"),
        (cluster, "restart", "begins again"),
        (cluster, "pause", "stands still"),
        (network, "resume", "goes on"),
    ):
        setattr(owner, act, partial(fault, getattr(owner, act), what))
