"""Frames for benchmarks, made as arrays: what a generator that builds packet by packet would take minutes for."""

from typing import Any

import numpy as np

from nfactor.functions.ids import RuleSet, parse_rules
from nfactor.packet.burst import Burst
from nfactor.packet.cluster_frame import HEADER_OCTETS

Frames = Any
"""``uint8[n, octets]``: frames behind our header, all of one length."""

HTTP_RULES = ["allow any from any to any"]


def _frames(count: int, octets: int) -> Frames:
    """Ethernet and IPv4 headers; 10.x.y.z to 10.255.0.1, port 80."""
    frames = np.zeros((count, HEADER_OCTETS + octets), np.uint8)
    frames[:, 12:16] = (0x88, 0xB5, 0, 1)
    ethernet = frames[:, HEADER_OCTETS:]
    ethernet[:, 12:15] = (8, 0, 0x45)
    ethernet[:, 16:18] = ((octets - 14) >> 8, (octets - 14) & 0xFF)
    ethernet[:, 22] = 64
    ethernet[:, 30:34] = (10, 255, 0, 1)
    ethernet[:, 36:38] = (0, 80)
    return frames


def _put(column: Frames, numbers: Any, dtype: str) -> None:
    column[:] = np.asarray(numbers).astype(dtype).view(np.uint8).reshape(len(numbers), -1)


def plain_frames(
    count: int, flows: int, *, zipf: bool, in_order: bool = False, seed: int = 1, octets: int = 64
) -> Frames:
    """So many octets, four of five TCP, the others UDP, of so many flows: drawn evenly, by Zipf's law, or one after the
    other."""
    rng = np.random.default_rng(seed)
    if in_order:
        flow = np.arange(count) % flows
    elif zipf:
        weights = 1 / np.arange(1, flows + 1)
        flow = rng.choice(flows, count, p=weights / weights.sum())
    else:
        flow = rng.integers(0, flows, count)
    frames = _frames(count, octets)
    ethernet = frames[:, HEADER_OCTETS:]
    tcp = flow % 5 != 0
    ethernet[:, 23] = np.where(tcp, 6, 17)
    _put(ethernet[:, 26:30], 0x0A000000 | flow * 2654435761 % (1 << 24), ">u4")
    _put(ethernet[:, 34:36], 1024 + flow % 60000, ">u2")
    _put(ethernet[:, 38:40], np.where(tcp, 0, octets - 34), ">u2")
    ethernet[:, 46] = np.where(tcp, 0x50, 0)
    ethernet[:, 47] = np.where(tcp, 0x10, 0)
    return frames


def http_frames(count: int, octets: int, *, flows: int = 1000) -> Frames:
    """TCP segments of so many octets, in order in each flow: requests, one to a segment, with a long header; or no
    payload at all in 64 octets."""
    frames = _frames(count, octets)
    ethernet = frames[:, HEADER_OCTETS:]
    flow, turn = np.arange(count) % flows, np.arange(count) // flows
    payload = octets - 54
    ethernet[:, 23] = 6
    _put(ethernet[:, 26:30], 0x0A000000 | flow * 2654435761 % (1 << 24), ">u4")
    _put(ethernet[:, 34:36], 1024 + flow % 60000, ">u2")
    _put(ethernet[:, 38:42], turn * payload, ">u4")
    ethernet[:, 46:48] = (0x50, 0x10)
    if octets > 64:
        rng = np.random.default_rng(2)
        text = b"GET /index.html HTTP/1.1\r\nHost: example.org\r\nCookie: "
        filler = bytes(rng.integers(97, 123, payload - len(text) - 4).tolist())
        ethernet[:, 54:] = np.frombuffer(text + filler + b"\r\n\r\n", np.uint8)
    elif payload > 0:
        ethernet[:, 16:18] = (0, 40)
    return frames


def ids_rules(count: int) -> RuleSet:
    """Rules with one content each, of 6 to 20 octets."""
    rng = np.random.default_rng(3)
    lines = []
    for sid in range(1, count + 1):
        pattern = bytes(rng.integers(97, 123, rng.integers(6, 21)).tolist()).decode()
        lines.append(f'alert tcp any any -> any any (content:"{pattern}"; sid:{sid};)')
    return parse_rules(lines)


def bursts_of(frames: Frames, size: int) -> list[Burst]:
    """The frames as bursts of so many, a microsecond apart."""
    count, octets = frames.shape
    data = frames.reshape(-1)
    offsets = np.arange(count, dtype=np.int64) * octets
    lengths = np.full(count, octets, np.uint32)
    whole = Burst(
        data, offsets, lengths, lengths - np.uint32(HEADER_OCTETS), np.arange(count) * 1000, np.zeros(count, np.uint64)
    )
    return [whole.slice(start, min(start + size, count)) for start in range(0, count, size)]
