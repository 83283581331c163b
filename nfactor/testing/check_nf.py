"""``check_nf``: whether a network function of one's own means the same to both engines, and survives a move.

In a test::

    from nfactor.testing import check_nf

    def test_my_nf() -> None:
        check_nf(MyNF)

The traffic is drawn from a seed: conversations of TCP and UDP, IPv4 and IPv6, with VLANs, fragments, packets cut short
and octets overwritten. Pass ``frames`` for traffic that your NF is really about.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import numpy as np

from nfactor.dataplane.engine import Engine, TimeOuts
from nfactor.dataplane.nf import NF, Pool
from nfactor.errors import EnginesDiffer
from nfactor.packet.burst import Burst
from nfactor.testing.packets import ACK, FIN, RST, SYN, burst_of, tcp, udp

_PACKETS: Final = 300
_HOSTS: Final = ("10.0.0.1", "10.0.0.2", "192.0.2.7", "2001:db8::1", "2001:db8::2")
_STEP_S: Final = 0.4


def check_nf(
    make: Callable[[], NF], *, frames: Sequence[bytes] | None = None, packets: int = _PACKETS, seed: int = 0
) -> None:
    """Run an NF that ``make`` makes in both engines, on ``frames`` (Ethernet) or on so many drawn from the seed.

    Raises ``EnginesDiffer`` (an ``AssertionError``) where packets, verdicts, states, records or counts differ, or where
    a flow that moves to another runtime after any of its packets ends otherwise than one that stays; and
    ``NotCompilable`` where the NF cannot be compiled.
    """
    from nfactor.testing.twins import Twins  # needs LLVM, which not everyone has who tests

    traffic = list(frames) if frames is not None else drawn_frames(Random(seed), packets)
    burst = burst_of(traffic, step_s=_STEP_S)
    twins = Twins(lambda: [make()], time_outs=TimeOuts(tcp_idle_s=20, udp_idle_s=8, other_idle_s=8))
    for start in range(0, len(burst), 64):
        twins.process(_part(burst, start, min(start + 64, len(burst))))
        twins.check_all()
    twins.do("expire", twins.do("keys"))
    twins.check_all()
    _check_moves(make, burst_of(traffic, step_s=_STEP_S))


def _check_moves(make: Callable[[], NF], burst: Burst) -> None:
    """Each packet is processed by another runtime than the one before, of the other engine every second time."""

    from nfactor.testing.twins import Twins

    def engines(make: Callable[[], NF]) -> Twins:
        return Twins(lambda: [make()], common_clock=True, time_outs=TimeOuts(never=True))

    at_home = engines(make).reference
    made = _with_common_pools(make)
    away = [engines(made).reference, engines(made).compiled, engines(made).compiled, engines(made).reference]
    for index in range(len(burst)):
        home, abroad = _part(burst, index, index + 1), _part(burst, index, index + 1)
        engine = away[index % len(away)]
        codes = at_home.process(home).tolist(), engine.process(abroad).tolist()
        if codes[0] != codes[1] or home.frames() != abroad.frames():
            reasons = (at_home.reasons[codes[0][0]], engine.reasons[codes[1][0]])
            raise EnginesDiffer(f"packet {index + 1}: {reasons[0]} where the flow stays, {reasons[1]} where it moves")
        _move(engine, away[(index + 1) % len(away)])
    last = away[len(burst) % len(away)]
    _compare_ends(at_home, last, away)


def _with_common_pools(make: Callable[[], NF]) -> Callable[[], NF]:
    """NFs that take from the same pools, as one that stays at home takes from its own: else numbers would differ."""
    pools: dict[str, Pool] = {}

    def made() -> NF:
        function = make()
        for name, held in list(vars(function).items()):
            if isinstance(held, Pool):
                setattr(function, name, pools.setdefault(name, held))
        return function

    return made


def _move(source: Engine, target: Engine) -> None:
    keys, epochs = source.pick(1 << 20)
    target.hold(keys, epochs + np.uint32(1))
    records, _ = source.depart(keys)
    target.install(keys, epochs + np.uint32(1), records)


def _compare_ends(home: Engine, last: Engine, away: Sequence[Engine]) -> None:
    """The states that are left, and everything that was emitted on the way and is said at the end."""
    keys = sorted(home.keys())
    if keys != sorted(last.keys()):
        raise EnginesDiffer("other flows are left where flows move than where they stay")
    _, stayed, _ = home.copy(keys)
    _, moved, _ = last.copy(keys)
    states = slice(24, None)  # behind the engine's own header, whose epochs differ
    if not np.array_equal(stayed[:, states], moved[:, states]):
        raise EnginesDiffer("the state of a flow that moved differs from that of one that stayed")
    for engine in (home, last):
        engine.expire(keys)
    said = [(key, bytes(record)) for key, record in home.take_emitted()]
    elsewhere = [(key, bytes(record)) for engine in away for key, record in engine.take_emitted()]
    if sorted(said) != sorted(elsewhere):
        raise EnginesDiffer("flows that move emit other records than flows that stay")


def _part(burst: Burst, start: int, stop: int) -> Burst:
    """Some packets in octets of their own, so that rewriting them is nobody else's affair."""
    part = burst.slice(start, stop)
    return Burst(burst.data.copy(), part.offsets, part.lengths, part.wire_lengths, part.times, part.marks)


def drawn_frames(rng: Random, count: int) -> list[bytes]:
    """So many Ethernet frames, most of them whole."""
    return [_mangled(rng, _whole(rng)) for _ in range(count)]


def _whole(rng: Random) -> bytes:
    version_4 = rng.random() < 0.7
    a, b = rng.sample([host for host in _HOSTS if (":" in host) != version_4], 2)
    ports = rng.choice((1024, 5000, 40000)), rng.choice((53, 80, 443))
    if rng.random() < 0.5:
        a, b, ports = b, a, (ports[1], ports[0])
    payload = rng.choice((b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", rng.randbytes(rng.randrange(40))))
    if rng.random() < 0.3:
        return udp(a, ports[0], b, ports[1], payload)
    flags = rng.choice((SYN, SYN | ACK, ACK, ACK, ACK, FIN | ACK, RST))
    return tcp(a, ports[0], b, ports[1], payload, flags=flags, seq=rng.randrange(200), ack=rng.randrange(200))


def _mangled(rng: Random, frame: bytes) -> bytes:
    octets = bytearray(frame)
    kind = rng.random()
    if kind < 0.08:
        octets[12:12] = b"\x81\x00" + rng.randrange(4096).to_bytes(2, "big")
    elif kind < 0.14:
        octets[20:22] = rng.randrange(1 << 16).to_bytes(2, "big")  # IPv4: flags and fragment offset
    elif kind < 0.20:
        del octets[rng.randrange(len(octets)) :]
    elif kind < 0.30:
        octets[rng.randrange(len(octets))] = rng.randrange(256)
    return bytes(octets)
