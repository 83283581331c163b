"""Coverage-guided fuzzing (atheris) of everything that takes octets from a peer: frames, links, envelopes, messages.

    python tests/fuzz/actor_decoders.py [-max_total_time=120] [CORPUS...]

The first octet chooses what gets the rest; nothing but the decoders' own errors may come out. `make nightly` runs it
for two minutes.
"""

import contextlib
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import atheris
import msgpack  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["nfactor.actors", "nfactor.errors"]):
    from nfactor.actors import Link, Ref, envelope, frame
    from nfactor.errors import ProtocolError
    from tests.actors.hostile import meet
    from tests.actors.samples import MESSAGES, Here


def sealed(body: bytes) -> bytes:
    """With the right checksum, which no fuzzer finds."""
    return body + struct.pack("<I", zlib.crc32(body))


def parse(data: bytes) -> None:
    """A frame comes out, or FrameError; what comes out is built again as it was."""
    for datagram in (data, sealed(data)):
        try:
            found = frame.parse(datagram)
        except frame.FrameError:
            continue
        # What ``head_of`` makes begins with such flags; others are nobody's.
        lone = frame.parse_lone(datagram[:7], datagram) if found.tag and not datagram[0] & 0x0C else None
        assert lone is None or (found.seq, found.ack, [(False, lone[2])]) == (lone[0], lone[1], found.segments)
        if not (datagram[0] & 8 and found.sack == 0):  # an empty bitmap is left out
            assert frame.build(found) == datagram


def receive(data: bytes) -> None:
    """A link takes whatever comes, one datagram after the other, and goes on."""
    link, now = Link(5, 600), 0.0
    link.send(b"hello", now)
    while data:
        length, data = data[0], data[1:]
        link.receive(sealed(data[:length]), now)
        data, now = data[length:], now + 0.05
        link.poll(now)
        link.ended()
        link.take()
        link.statistics()


def open_envelopes(data: bytes) -> None:
    """Arrays, each of which is an envelope or a ProtocolError."""
    for array in envelope.each(data)[0]:
        with contextlib.suppress(ProtocolError):
            for tell in MESSAGES.singly(envelope.checked(array)):
                envelope.checked(tell)


def decode(data: bytes) -> None:
    """A message of the declared types, or ProtocolError; what comes out can be sent again."""
    try:
        message = MESSAGES.decode(data)
    except ProtocolError:
        return
    MESSAGES.encode(message)


def reach_a_node(data: bytes) -> None:
    """A node lives on, whatever a peer sends in frames that are right."""
    meet([part for part in data.split(b"\xff\xfe\xfd") if part][:4])


TARGETS = (parse, receive, open_envelopes, decode, reach_a_node)


def one_input(data: bytes) -> None:
    """What atheris calls."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def seeds() -> list[bytes]:
    """Something right for each target to begin with."""
    ends = frame.Identity(3, 1), frame.Identity(4, 2)
    built = frame.build(frame.Frame(1, True, *ends, 7, 9, 5, [(False, b"payload"), (True, b"part")]))
    tell = msgpack.packb([0, "counter", None, [1, 5]])
    asked = msgpack.packb([1, "table", b"key", 9, [1, 5], ["teller", 3], bytes(24)])
    here = MESSAGES.encode(Here(Ref("b", "counter", b"key")))
    body = built[:-4]
    return [
        b"\0" + built,
        b"\1" + bytes([len(body)]) + body,
        b"\2" + tell + asked,
        b"\3" + here,
        b"\4" + tell + asked,
        bytes.fromhex("008d2400308d3d00000000000000000000141414141014141414141414140000000000000000"),
        b"\4" + msgpack.packb([0, "teller", None, MESSAGES.to_array(Here(Ref("b", "counter")))]),
    ]


def main() -> None:
    """Fuzz from the seeds, or from a corpus that the command line names."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds()):
            (Path(folder) / str(number)).write_bytes(seed)
        given = any(not word.startswith("-") for word in sys.argv[1:])
        atheris.Setup(sys.argv if given else [*sys.argv, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
