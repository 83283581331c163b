"""Flows of real captures, as ``packet`` alone tells them, against tshark's count of the same files."""

import pytest

from nfactor.errors import MalformedPacket
from nfactor.packet.capture import open_capture
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import Packet
from nfactor.packet.flow_key import FlowKey
from nfactor.packet.headers import parse
from tests.captures import ABSENT, Counts, Flow, capture_path, captures_root, expected_flows, manifest

SLOW_PACKETS = 20_000
"""A capture with more packets takes longer than a quarter of a second."""
DIFFERENT_BY_POLICY = {
    # One TCP header whose data offset is below 20 octets: tshark marks it as malformed and yet counts a flow by its
    # ports; here it is a malformed packet, and those are dropped before any flow.
    "ndpi__fuzz-2006-06-26-2594.pcap": {("tcp", "192.168.1.2", 58657, "147.234.1.253", 47645): (1, 0, 54, 0)},
}


def count_flows(name: str) -> tuple[int, dict[Flow, Counts]]:
    """The number of packets, and the TCP and UDP flows: a flow monitor in twenty lines."""
    classifier, packet = FlowClassifier("five-tuple"), Packet()
    packets = 0
    flows: dict[bytes, list[int]] = {}
    with open_capture(capture_path(name)) as reader:
        while burst := reader.read_burst(256):
            packets += len(burst)
            packet.data = burst.data.data
            columns = (burst.offsets.tolist(), burst.lengths.tolist(), burst.wire_lengths.tolist())
            for offset, length, wire_length in zip(*columns, strict=True):
                try:
                    parse(packet, offset, offset + length, wire_length)
                except MalformedPacket:
                    continue
                key, direction = classifier.classify(packet)
                row = flows.setdefault(key, [direction, 0, 0, 0, 0])
                back = direction != row[0]
                row[1 + back] += 1
                row[3 + back] += wire_length
    return packets, dict(flow for key, row in flows.items() if (flow := as_tshark_says(key, row)))


def as_tshark_says(key: bytes, row: list[int]) -> tuple[Flow, Counts] | None:
    """The flow as a row of the expected answers; None if it is neither TCP nor UDP, or its ports are not known."""
    flow = FlowKey.decode(key)
    if flow.protocol not in ("tcp", "udp"):
        return None
    ab, ba = (flow.a, flow.a_port), (flow.b, flow.b_port)
    first, second = (ba, ab) if row[0] else (ab, ba)
    return (flow.protocol, *first, *second), (row[1], row[2], row[3], row[4])


CAPTURES = [
    pytest.param(capture, id=capture["name"], marks=[pytest.mark.slow] if capture["packets"] > SLOW_PACKETS else [])
    for capture in manifest()
] or [pytest.param({})]


@pytest.mark.skipif(captures_root() is None, reason=ABSENT)
@pytest.mark.parametrize("capture", CAPTURES)
def test_flows_are_those_that_tshark_counts(capture: dict[str, object]) -> None:
    """Every capture has as many packets, and every TCP and UDP flow as many packets and octets each way."""
    name = str(capture["name"])
    packets, flows = count_flows(name)
    assert capture["packets"] == packets
    assert expected_flows(name) == flows | DIFFERENT_BY_POLICY.get(name, {})
    assert not (capture["judge_flows"] and name in DIFFERENT_BY_POLICY)
