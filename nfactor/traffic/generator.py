"""Flows that begin at random moments, merged in the order of time.

Flows arrive as a Poisson process; each is a conversation (``conversation``) whose kind and size are drawn; a heap holds
the next packet of each that is under way. Memory follows the flows that are open at once, not the length of the load.
Everything follows from the seed.
"""

import heapq
from collections.abc import Iterator
from random import Random
from typing import Final

import attrs
import numpy as np
import trio

from nfactor.backends.base import Port
from nfactor.errors import CallerError
from nfactor.packet import cluster_frame
from nfactor.packet.burst import BURST_PACKETS_MAX, Burst
from nfactor.testing.packets import burst_of
from nfactor.traffic.conversation import Content, Ends, Step, bulk, datagrams, http, steady
from nfactor.traffic.sizes import CAMPUS_TCP, CAMPUS_UDP, Sizes

FLOW_OCTETS_MAX: Final = 1 << 30
"""No flow is larger than this, whatever is drawn."""
PLAYED_TOGETHER_NS: Final = 1_000_000
"""Packets within so many nanoseconds are sent at once: a timer is no finer."""
_SERVERS: Final = 200
_FRAME_OCTETS: Final = 64


def _share(load: "Load", attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value <= 1:
        raise CallerError(f"{attribute.name} {value}: a share is from 0 to 1")


def _positive(load: "Load", attribute: "attrs.Attribute[float]", value: float) -> None:
    if not value > 0:
        raise CallerError(f"{attribute.name} {value}: must be more than 0")


@attrs.frozen(kw_only=True)
class Load:
    """What to generate. Raises ``CallerError`` for shares outside 0 to 1 and rates that are not positive."""

    flows_per_s: float = attrs.field(default=100.0, validator=_positive)
    """New flows per second, on average."""
    seconds: float = attrs.field(default=10.0, validator=_positive)
    """For so long flows begin; those that have begun go on to their end."""
    gap_s: float = attrs.field(default=0.01, validator=_positive)
    """From one packet of a flow to the next, on average; exactly, for steady flows."""
    udp: float = attrs.field(default=0.2, validator=_share)
    """Share of flows that are UDP."""
    http: float = attrs.field(default=0.0, validator=_share)
    """Share of TCP flows that are HTTP."""
    attacks: float = attrs.field(default=0.0, validator=_share)
    """Share of HTTP flows with an attack string."""
    duplicates: float = attrs.field(default=0.0, validator=_share)
    """Share of content that repeats, over all flows."""
    ipv6: float = attrs.field(default=0.1, validator=_share)
    """Share of flows over IPv6."""
    tcp_sizes: Sizes = CAMPUS_TCP
    udp_sizes: Sizes = CAMPUS_UDP
    steady_packets: int = 0
    """If not 0: every flow is so many frames of 64 octets, one way, ``gap_s`` apart."""


def generate(load: Load, *, seed: int = 0, packets_max: int | None = None) -> Iterator[Burst]:
    """Bursts of Ethernet frames behind our header, in the order of time from 0; marks count from 1."""
    frames: list[bytes] = []
    times: list[float] = []
    mark = 1
    for at, frame in _merged(load, Random(seed)):
        frames.append(frame)
        times.append(at)
        left = None if packets_max is None else packets_max - mark + 1 - len(frames)
        if len(frames) == BURST_PACKETS_MAX or left == 0:
            yield _burst(frames, times, mark)
            mark += len(frames)
            frames, times = [], []
            if left == 0:
                return
    if frames:
        yield _burst(frames, times, mark)


def _burst(frames: list[bytes], times: list[float], mark: int) -> Burst:
    burst = burst_of(frames, first_mark=mark)
    burst.times[:] = [round(at * 1e9) for at in times]
    return burst


def _merged(load: Load, rng: Random) -> Iterator[tuple[float, bytes]]:
    """Time and frame of every packet."""
    content = Content(load.duplicates, rng)
    begins, number = rng.expovariate(load.flows_per_s), 0
    heap: list[tuple[float, int, bytes, Iterator[Step]]] = []
    while heap or begins < load.seconds:
        if begins < load.seconds and (not heap or begins <= heap[0][0]):
            flow = _flow(load, Random(rng.getrandbits(64)), number, content)
            _, frame = next(flow)
            heapq.heappush(heap, (begins, number, frame, flow))
            number += 1
            begins += rng.expovariate(load.flows_per_s)
            continue
        at, which, frame, flow = heap[0]
        yield at, frame
        following = next(flow, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (at + following[0], which, following[1], flow))


def _flow(load: Load, rng: Random, number: int, content: Content) -> Iterator[Step]:
    """One conversation."""
    if load.steady_packets:
        return steady(_ends(load, rng, number, 80), load.steady_packets, load.gap_s, _FRAME_OCTETS)
    if rng.random() < load.udp:
        octets = min(FLOW_OCTETS_MAX, int(load.udp_sizes.draw(rng)))
        return datagrams(_ends(load, rng, number, rng.choice((53, 443, 123))), octets, load.gap_s, rng)
    octets = min(FLOW_OCTETS_MAX, int(load.tcp_sizes.draw(rng)))
    if rng.random() < load.http:
        attack = rng.random() < load.attacks
        return http(_ends(load, rng, number, 80), octets, load.gap_s, rng, content, attack)
    return bulk(_ends(load, rng, number, rng.choice((22, 443, 993))), octets, load.gap_s, rng, content)


def _ends(load: Load, rng: Random, number: int, port: int) -> Ends:
    """A client of its own for each flow: no two flows have the same addresses and ports until 2^30 have begun."""
    client_port, host, server = 1024 + number % 60_000, number // 60_000, rng.randrange(_SERVERS)
    if rng.random() < load.ipv6:
        return Ends(f"2001:db8::{1 + host:x}", client_port, f"2001:db8:1::{1 + server:x}", port)
    return Ends(f"10.{host >> 16 & 255}.{host >> 8 & 255}.{host & 255}", client_port, f"192.0.2.{1 + server}", port)


async def play(bursts: Iterator[Burst], port: Port, *, target: bytes, speed: float = 1.0) -> int:
    """Send bursts to a port at the pace that their times say, ``speed`` times as fast, addressed to the MAC address
    ``target``; how many packets the port took. What it refuses is not sent again, as on a wire."""
    begin, sent = trio.current_time(), 0
    for burst in bursts:
        cluster_frame.readdress(burst, target=target, source=port.address)
        start = 0
        while start < len(burst):
            first_ns = int(burst.times[start])
            stop = int(np.searchsorted(burst.times, first_ns + PLAYED_TOGETHER_NS, "right"))
            await trio.sleep_until(begin + first_ns / 1e9 / speed)
            sent += port.send(burst.slice(start, stop))
            start = stop
    return sent
