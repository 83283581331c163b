"""Firewall: rules over addresses, protocol, ports and connection state; the first match wins, then a default policy.

Rules are text, one a line::

    # ACTION  PROTOCOL  from ADDRESS [port P[-Q]]  to ADDRESS [port P[-Q]]  [state new|established|invalid[,...]]
    allow any from any to any state established
    allow tcp from any to 10.0.0.0/8 port 80 state new
    allow udp from any port 53 to any
    deny  any from 2001:db8::/32 to any
    default deny

PROTOCOL is ``any``, ``tcp``, ``udp``, ``icmp``, ``icmpv6``, ``sctp`` or a number; an ADDRESS is ``any``, an address or
a prefix, IPv4 or IPv6. A rule that names ports matches only packets that have them, so no later fragments. What is not
IP (ARP …) always passes. Without a ``default`` line the default is ``allow``.

Where no rule names a state, each packet is judged by its own header alone. Where one does, connections are tracked
(``conntrack``): established is any packet of a flow in which both sides have spoken, and an ICMP error about a flow
that is here; invalid is TCP that cannot follow what was seen; a flow begins with the first packet that passes. Answers
are remembered in the flow's state, so that the rules are scanned once per flow, direction and connection state."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from nfactor.dataplane import nf
from nfactor.errors import CallerError, RuleError
from nfactor.functions import conntrack
from nfactor.functions.words import PORTS_MAX, WITH_PORTS, halves, port_number, protocol_number

_ALLOW, _DENY = 1, 2
_RULE, _POLICY = 0, 1  # indices into Firewall.drop_reasons
_ANSWER_BITS: Final = 4
_ANSWER: Final = 0xF
_BACK: Final = 12  # where the answers for direction 1 begin, behind those for three connection states of direction 0

_TCP: Final = 6
_CONNECTIONS: Final = {
    "new": conntrack.NEW,
    "established": conntrack.ESTABLISHED,
    "invalid": conntrack.INVALID,
}
_ANY_PROTOCOL: Final = 256


@attrs.frozen
class Endpoint:
    """One side of a rule. Addresses are two 64-bit halves; an IPv4 address lies in the lower 32 bits of ``low``."""

    version: int = 0
    """4, 6, or 0 for ``any``."""
    high: int = 0
    low: int = 0
    high_mask: int = 0
    low_mask: int = 0
    port_min: int = 0
    port_max: int = PORTS_MAX

    def names_ports(self) -> bool:
        """Whether only some ports match."""
        return self.port_min > 0 or self.port_max < PORTS_MAX


@attrs.frozen
class Rule:
    """One line: if protocol, source, target and connection state match, the packet is denied or allowed."""

    deny: bool
    protocol: int
    source: Endpoint
    target: Endpoint
    connections: tuple[int, ...] = ()
    """The connection states that match (``conntrack``); empty: any."""


@nf.record
class RuleRow:
    """A rule as the NF compares it with packets; fields as in ``Endpoint``."""

    source_high: nf.u64
    source_low: nf.u64
    source_high_mask: nf.u64
    source_low_mask: nf.u64
    target_high: nf.u64
    target_low: nf.u64
    target_high_mask: nf.u64
    target_low_mask: nf.u64
    source_port_min: nf.u16
    source_port_max: nf.u16
    target_port_min: nf.u16
    target_port_max: nf.u16
    protocol: nf.u16
    source_version: nf.u8
    target_version: nf.u8
    connections: nf.u8
    """Bit set of the connection states that match."""
    names_ports: nf.u8
    answer: nf.u8

    @classmethod
    def of(cls, rule: Rule) -> "RuleRow":
        """The row of a rule."""
        ends: dict[str, int] = {}
        for side, end in (("source", rule.source), ("target", rule.target)):
            ends |= {f"{side}_{name}": value for name, value in attrs.asdict(end).items()}
        return cls(
            **ends,
            protocol=rule.protocol,
            connections=sum(1 << state for state in rule.connections or _CONNECTIONS.values()),
            names_ports=rule.source.names_ports() or rule.target.names_ports(),
            answer=_DENY + _RULE if rule.deny else _ALLOW,
        )


@attrs.frozen
class RuleSet:
    """Rules in order and what happens when none matches."""

    rules: tuple[Rule, ...] = ()
    default_deny: bool = False


@nf.state
class FirewallState:
    """What the firewall remembers of a flow. The last four are used only where rules name connection states."""

    answers: nf.u32
    """Four bits for each direction and connection state: 0 not asked yet, 1 allow, 2 + index of the drop reason."""
    origin: nf.u8
    """1 + direction of the first packet that passed; 0 before."""
    replied: nf.u8
    """1 once the other side's packet has passed."""
    tcp: nf.u8
    """State of the TCP connection (``conntrack``)."""
    finished: nf.u8
    """1 or 2 for the side (``origin`` or the other) that sent the first FIN."""


@nf.state
class FirewallSettings:
    """What the firewall goes by beside its rules."""

    default: nf.u8
    """The answer where no rule matches."""


class Firewall(nf.NF):
    """Drops what the rules deny, counted as ``firewall_rule`` or ``firewall_policy``."""

    State = FirewallState
    drop_reasons = ("rule", "policy")

    def __init__(self, rules: RuleSet | None = None) -> None:
        self.rules: nf.Table[RuleRow] = nf.Table(RuleRow)
        self.settings = FirewallSettings(0)
        self.tracks: bool | None = None
        self.configure(RuleSet() if rules is None else rules)

    def configure(self, rules: RuleSet) -> None:
        """These rules from now on, for what has not been judged yet: answers that were given stay given.

        Raises ``CallerError`` where the rules begin or cease to name connection states: whether connections are tracked
        is settled by the first ones."""
        tracks = any(rule.connections for rule in rules.rules)
        if self.tracks is None:
            self.tracks = tracks
        elif tracks != self.tracks:
            raise CallerError("rules begin or cease to name connection states, which a firewall at work cannot follow")
        self.settings.default = _DENY + _POLICY if rules.default_deny else _ALLOW
        self.rules.replace(map(RuleRow.of, rules.rules))

    def process_pkt(self, pkt: nf.Packet, fs: FirewallState) -> int:
        """FORWARD or a drop; non-IP packets pass."""
        known = 0 if self.tracks or pkt.foreign else fs.answers >> (_BACK if pkt.direction else 0) & _ANSWER
        if known == _ALLOW:
            return nf.FORWARD  # nearly every packet
        connection, tcp = self._connection(pkt, fs) if self.tracks else (conntrack.NEW, 0)
        shift = _BACK * pkt.direction + _ANSWER_BITS * connection
        answer = fs.answers >> shift & _ANSWER
        if answer == 0 or pkt.foreign:
            answer = self._judge(pkt, connection)
            if not pkt.foreign:
                fs.answers |= answer << shift
        if answer != _ALLOW:
            return nf.drop(answer - _DENY)
        if self.tracks and not pkt.foreign:
            _passed(pkt, fs, tcp)
        return nf.FORWARD

    def _connection(self, pkt: nf.Packet, fs: FirewallState) -> tuple[int, int]:
        """The connection state of the packet, and the TCP state that follows if it passes."""
        if pkt.foreign:
            return (conntrack.ESTABLISHED if fs.origin else conntrack.NEW), 0
        side = (pkt.direction + 1 != fs.origin) if fs.origin else 0
        tcp = 0
        if pkt.protocol == _TCP and pkt.l4 >= 0:
            tcp = conntrack.follow(fs.tcp, pkt.tcp_flags, int(side), fs.finished)
            if tcp < 0:
                return conntrack.INVALID, fs.tcp
            if tcp == conntrack.ASKED and fs.tcp >= conntrack.CLOSED:
                return conntrack.NEW, tcp
        return (conntrack.ESTABLISHED if fs.replied or side else conntrack.NEW), tcp

    def _judge(self, pkt: nf.Packet, connection: int) -> int:
        if pkt.version == 0:
            return _ALLOW
        source_high, source_low, source_port = pkt.source_high, pkt.source_low, pkt.source_port
        target_high, target_low, target_port = pkt.target_high, pkt.target_low, pkt.target_port
        version, protocol = pkt.version, pkt.protocol
        with_ports = pkt.l4 >= 0 and protocol in WITH_PORTS
        for rule in self.rules:
            if (  # the most telling first
                source_low & rule.source_low_mask == rule.source_low
                and target_low & rule.target_low_mask == rule.target_low
                and rule.protocol in (protocol, _ANY_PROTOCOL)
                and rule.connections >> connection & 1
                and rule.source_version in (version, 0)
                and rule.target_version in (version, 0)
                and source_high & rule.source_high_mask == rule.source_high
                and target_high & rule.target_high_mask == rule.target_high
                and (
                    not rule.names_ports
                    or (
                        with_ports
                        and rule.source_port_min <= source_port <= rule.source_port_max
                        and rule.target_port_min <= target_port <= rule.target_port_max
                    )
                )
            ):
                return rule.answer
        return self.settings.default


def _passed(pkt: nf.Packet, fs: FirewallState, tcp: int) -> None:
    """The packet passes: it is part of the connection now. (One that is dropped has not happened.)"""
    if fs.origin == 0:
        fs.origin = pkt.direction + 1
    side = pkt.direction + 1 != fs.origin
    if side:
        fs.replied = 1
    if tcp == conntrack.ASKED and fs.tcp >= conntrack.CLOSED:
        fs.replied = fs.finished = 0
    if tcp == conntrack.CLOSING and fs.tcp != conntrack.CLOSING and conntrack.is_fin(pkt.tcp_flags):
        fs.finished = 2 if side else 1
    fs.tcp = tcp


def parse_rules(lines: Iterable[str], file: str = "rules") -> RuleSet:
    """Read a rule file's lines. Raises ``RuleError`` naming file, line and what is wrong; nothing is half-read."""
    rules: list[Rule] = []
    default_deny: bool | None = None
    for number, text in enumerate(lines, 1):
        words = text.split("#", 1)[0].split()
        if not words:
            continue
        try:
            if words[0] == "default":
                if default_deny is not None:
                    raise ValueError("a second `default`")
                default_deny = _default(words)
            else:
                rules.append(_rule(words))
        except ValueError as error:
            raise RuleError(file, number, str(error)) from None
    return RuleSet(tuple(rules), bool(default_deny))


def _default(words: Sequence[str]) -> bool:
    if len(words) != 2:
        raise ValueError("`default` takes one word, allow or deny")
    return _action(words[1])


def _action(word: str) -> bool:
    if word not in ("allow", "deny"):
        raise ValueError(f"{word!r} is no action; write allow or deny")
    return word == "deny"


def _rule(words: Sequence[str]) -> Rule:
    deny = _action(words[0])
    connections: tuple[int, ...] = ()
    if len(words) > 1 and words[-2] == "state":
        connections, words = _states(words[-1]), words[:-2]
    if "from" not in words or "to" not in words or words.index("from") > words.index("to"):
        raise ValueError("a rule is ACTION [PROTOCOL] from ADDRESS [port P[-Q]] to ADDRESS [port P[-Q]] [state S[,S]]")
    start, middle = words.index("from"), words.index("to")
    protocol = _protocol(words[1:start])
    source, target = _endpoint(words[start + 1 : middle], "from"), _endpoint(words[middle + 1 :], "to")
    if protocol not in (_ANY_PROTOCOL, *WITH_PORTS) and (source.names_ports() or target.names_ports()):
        raise ValueError(f"protocol {words[1]} has no ports")
    if source.version and target.version and source.version != target.version:
        raise ValueError("one address is IPv4 and the other IPv6: such a packet does not exist")
    return Rule(deny, protocol, source, target, connections)


def _states(word: str) -> tuple[int, ...]:
    for name in word.split(","):
        if name not in _CONNECTIONS:
            raise ValueError(f"{name!r} is no connection state; write {', '.join(_CONNECTIONS)}, joined by commas")
    return tuple(_CONNECTIONS[name] for name in word.split(","))


def _protocol(words: Sequence[str]) -> int:
    if not words or list(words) == ["any"]:
        return _ANY_PROTOCOL
    if len(words) > 1:
        raise ValueError(f"{' '.join(words)!r} stands where one protocol is expected")
    return protocol_number(words[0])


def _endpoint(words: Sequence[str], side: str) -> Endpoint:
    if not words:
        raise ValueError(f"an address (or any) is missing after `{side}`")
    ports = (0, PORTS_MAX)
    if len(words) > 1:
        if words[1] != "port" or len(words) != 3:
            raise ValueError(f"{' '.join(words[1:])!r} after the address; write port P or port P-Q")
        ports = _ports(words[2])
    if words[0] == "any":
        return Endpoint(port_min=ports[0], port_max=ports[1])
    network = ipaddress.ip_network(words[0])
    address, mask = halves(int(network.network_address)), halves(int(network.netmask))
    return Endpoint(network.version, *address, *mask, port_min=ports[0], port_max=ports[1])


def _ports(word: str) -> tuple[int, int]:
    low, dash, high = word.partition("-")
    first = port_number(low)
    last = port_number(high) if dash else first
    if first > last:
        raise ValueError(f"ports {word} are not a range: the first is higher than the last")
    return first, last
