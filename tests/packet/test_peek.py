"""A peek at a burst says of plain packets what a parse says."""

from hypothesis import given, strategies as st

from nfactor.errors import MalformedPacket
from nfactor.packet.burst import Burst
from nfactor.packet.cluster_frame import header
from nfactor.packet.fields import Packet
from nfactor.packet.headers import parse
from nfactor.packet.peek import peek
from nfactor.testing import packets

frame = st.one_of(
    st.builds(lambda port: packets.tcp("10.0.0.1", port, "10.0.0.2", 80), st.integers(0, 65535)),
    st.builds(lambda port: packets.udp("10.0.0.2", 53, "10.0.0.1", port), st.integers(0, 65535)),
    st.builds(lambda port: packets.udp("2001:db8::2", 53, "::1", port), st.integers(0, 65535)),
    st.binary(max_size=70),
)


def endpoints(burst: Burst, index: int) -> bytes:
    start, length = int(burst.offsets[index]), int(burst.lengths[index])
    packet = Packet(burst.octets())
    try:
        parse(packet, start, start + length, length - 16)
    except MalformedPacket:
        return b""
    return bytes((packet.protocol,)) + packet.endpoints if packet.endpoints else b""


@given(st.lists(st.tuples(frame, st.integers(0, 69), st.integers(0, 255), st.booleans()), max_size=40))
def test_what_a_parse_finds_plain_a_peek_finds_with_the_same_endpoints(
    changed: list[tuple[bytes, int, int, bool]],
) -> None:
    frames = []
    for octets, at, value, change in changed:
        whole = bytearray(header(1) + octets)
        if change:
            whole[at % len(whole)] = value
        frames.append(bytes(whole))
    burst = Burst.from_frames(frames)
    for index, found in enumerate(peek(burst)):
        parsed = endpoints(burst, index)
        assert parsed in (b"", found), "a peek may take more for plain than a parse does, never less or otherwise"
