"""Coverage-guided fuzzing (atheris) of the compiled burst loop: whatever the octets, both engines say the same, and no
octet outside the burst changes.

    python tests/fuzz/burst_loop.py [-max_total_time=600] [CORPUS...]

`make nightly` runs it for ten minutes. The input is cut into frames by one octet of length each; a frame of odd length
is given an Ethernet header of IPv4 or IPv6 first, as no fuzzer finds one soon.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["nfactor.packet"]):
    from nfactor.functions.http import Http
    from nfactor.functions.monitor import Monitor
    from nfactor.testing.packets import burst_of, tcp, udp
    from nfactor.testing.twins import Twins
    from tests.compiled.test_hostile import CANARY, GUARD, Scribbler, guarded

HEADERS = [tcp("10.0.0.1", 1, "10.0.0.2", 80, b"GET / HTTP/1.1\r\n"), udp("2001:db8::1", 5, "2001:db8::2", 53)]
_twins: list[Twins] = []


def frames_of(data: bytes) -> list[bytes]:
    """Frames of up to 255 octets."""
    frames = []
    while data:
        length, data = data[0], data[1:]
        frame, data = data[:length], data[length:]
        frames.append(HEADERS[length >> 1 & 1][: 14 + length % 40] + frame if length & 1 else frame)
    return frames


def fuzz(data: bytes) -> None:
    """One input."""
    if not _twins or _twins[0].reference.statistics().packets > 100_000:
        _twins[:] = [Twins(lambda: [Scribbler(), Http(), Monitor()], flows_max=300)]
    frames = frames_of(data)
    _twins[0].process(burst_of(frames))
    burst, around = guarded(burst_of(frames))
    _twins[0].compiled.process(burst)
    _twins[0].reference.process(burst_of(frames))
    assert (around[:GUARD] == CANARY).all()
    assert (around[-GUARD:] == CANARY).all()


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
