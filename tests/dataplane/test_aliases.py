"""Other keys that flows answer to: what a switch learns, keeps and forgets."""

import attrs
import numpy as np
import pytest

from nfactor.dataplane.aliases import ALIASES_OF_FLOW_MAX
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.owners import Owners
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.cluster_frame import ALIAS, TEACH
from nfactor.packet.fields import Packet
from nfactor.packet.headers import parse
from nfactor.testing.packets import burst_of, udp
from tests.dataplane import tables

HOST, SERVER, NAT = "10.0.0.1", "198.51.100.7", "203.0.113.1"


def key_of(frame: bytes) -> tuple[bytes, int]:
    burst = burst_of([frame])
    packet = Packet(burst.octets())
    parse(packet, 0, len(burst.data), len(frame))
    return FlowClassifier("auto").classify(packet)


pytestmark = pytest.mark.usefixtures("kind_of_table")


def switch(flows_max: int = 100) -> Owners:
    made = tables.owners_of(flows_max)
    made.set_runtimes([0, 1])
    return made


def teaching(flow: bytes, *sent: bytes) -> Burst:
    """Packets that leave, each labelled with the flow of that frame."""
    key, direction = key_of(flow)
    return cluster_frame.with_labels(burst_of(sent), dict.fromkeys(range(len(sent)), (key, direction | TEACH)))


def labels(burst: Burst) -> list[tuple[bytes, int] | None]:
    octets = burst.octets()
    ends = zip(burst.offsets.tolist(), burst.lengths.tolist(), strict=True)
    return [cluster_frame.unwrap(octets, start, start + length)[2] for start, length in ends]


QUESTION, SENT, ANSWER = udp(HOST, 1, SERVER, 53), udp(NAT, 5000, SERVER, 53), udp(SERVER, 53, NAT, 5000)


def taught(flows_max: int = 100) -> Owners:
    made = switch(flows_max)
    made.assign(burst_of([udp(HOST, 9, SERVER, 53), QUESTION]))
    made.learn(teaching(QUESTION, SENT))
    return made


def test_packets_for_an_alias_go_to_the_flows_runtime_labelled_with_its_key() -> None:
    owners, burst = taught().assign(burst_of([ANSWER, QUESTION]))
    key, direction = key_of(QUESTION)
    assert ([1, 1], [(key, 1 - direction | ALIAS), None]) == (owners.tolist(), labels(burst))


def test_a_flow_that_was_redirected_has_taken_its_aliases_along() -> None:
    made = taught()
    made.redirect([key_of(QUESTION)[0]], np.array([2], np.uint32), source=1, target=0, now=0.0)
    assert [0] == made.assign(burst_of([ANSWER]))[0].tolist()


def test_packets_for_an_alias_count_as_the_flows_and_end_with_it() -> None:
    made = taught()
    made.assign(burst_of([ANSWER]))
    assert [0] == made.forget([key_of(QUESTION)[0]], np.array([2], np.uint32), owner=1, now=0.0).tolist()
    assert 0 == made.statistics().aliases
    assert [None] == labels(made.assign(burst_of([ANSWER]))[1]), "it is a flow of its own"


def test_what_came_too_early_was_a_flow_of_its_own_even_in_full_bursts() -> None:
    made = switch()
    many = burst_of([ANSWER] * 40)
    made.assign(many)
    assert [0] * 40 == made.assign(many)[0].tolist(), "the short way"
    made.assign(burst_of([QUESTION]))
    made.learn(teaching(QUESTION, SENT))
    assert [1] * 40 == made.assign(burst_of([ANSWER] * 40))[0].tolist()


def test_an_alias_is_whosever_told_of_it_last() -> None:
    made, other = taught(), udp(HOST, 9, SERVER, 53)
    made.learn(teaching(other, SENT))
    assert [0] == made.assign(burst_of([ANSWER]))[0].tolist()
    made.forget([key_of(QUESTION)[0]], np.array([1], np.uint32), owner=1, now=0.0)
    assert 1 == made.statistics().aliases, "the end of the flow that had it before takes nothing away"


def test_a_flow_keeps_its_latest_aliases() -> None:
    made = taught()
    for port in range(5001, 5001 + ALIASES_OF_FLOW_MAX):
        made.learn(teaching(QUESTION, udp(NAT, port, SERVER, 53)))
    assert ALIASES_OF_FLOW_MAX == made.statistics().aliases
    assert [None] == labels(made.assign(burst_of([ANSWER]))[1])


def test_there_is_a_limit_to_all_of_them_and_a_count_of_what_it_refused() -> None:
    made = taught(flows_max=2)
    for port in (5001, 5002):
        made.learn(teaching(QUESTION, udp(NAT, port, SERVER, 53)))
    assert (2, 1) == (made.statistics().aliases, made.statistics().aliases_refused)


def test_an_alias_that_another_flow_has_by_now_leaves_nothing_of_the_first() -> None:
    """Both were flows of another switch, whose word that the first had ended came when the second had its alias. What
    was known of the first stayed, for ever."""
    made = switch()
    made.set_switches(2, 0)
    sent = next(
        frame for frame in (udp(NAT, port, SERVER, 53) for port in range(99)) if made.switch_of(key_of(frame)[0]) == 0
    )
    flows = [
        frame for frame in (udp(HOST, port, SERVER, 53) for port in range(99)) if made.switch_of(key_of(frame)[0]) == 1
    ]
    for flow in flows[:2]:
        made.learn(teaching(flow, sent))
    for flow in flows[:2]:
        made.unlearn(key_of(sent)[0], key_of(flow)[0])
    assert {} == (made._elsewhere if isinstance(made, Dispatcher) else made._named)  # type: ignore[attr-defined]


def test_what_teaches_nothing_is_passed_over() -> None:
    """The flow's own key, a flow that is not there, a packet with another label, without one, or with no headers."""
    made = switch()
    made.assign(burst_of([QUESTION]))
    made.learn(teaching(QUESTION, QUESTION))
    made.learn(teaching(udp(HOST, 7, SERVER, 53), SENT))
    made.learn(cluster_frame.with_labels(burst_of([SENT]), {0: (key_of(QUESTION)[0], ALIAS)}))
    made.learn(burst_of([SENT]))
    broken = bytearray(SENT)
    broken[14] = 0x41
    made.learn(teaching(QUESTION, bytes(broken)))
    short = burst_of([b""])
    made.learn(attrs.evolve(short, data=short.data[:4], lengths=np.array([4], np.uint32)))
    assert 0 == made.statistics().aliases


def test_a_switch_that_begins_again_knows_none() -> None:
    made = taught()
    made.clear()
    assert 0 == made.statistics().aliases


def test_labels_are_replaced_not_heaped() -> None:
    key, _ = key_of(QUESTION)
    once = cluster_frame.with_labels(burst_of([ANSWER]), {0: (key, ALIAS)})
    twice = cluster_frame.with_labels(once, {0: (key, TEACH)})
    assert [(key, TEACH)] == labels(twice)
    assert len(once.data) == len(twice.data)
