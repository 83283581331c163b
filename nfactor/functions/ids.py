"""IDS: alerts for what rules in Suricata's syntax describe, in streams and packets, without stopping anything.

``Ids(parse_rules(lines, "file.rules"))``; what the rules can say is in ``ids_rules``, how TCP is followed in
``ids_stream``, how contents are found across packets in ``ids_match``. When an ``Alert`` is emitted:

- a rule with contents that is about streams: once per connection and direction, with the packet that completes the last
  of its contents (or, if ``flow`` or ``http`` are fulfilled later than that, with the packet that fulfils those);
- a rule with contents that is about packets, or with ``dsize``: for each packet that it matches;
- a rule without contents: for each packet; once per flow and direction if it says no more than protocol and addresses,
  none of them negated (Suricata's "IP-only" rules).

A TCP packet is ``established`` to a rule about packets if the handshake was complete *before* it, to a rule about
streams if it is complete *with* it, as data may come with the last packet of a handshake. Flows of other protocols are
established when packets were seen both ways. Packets whose flow key is not of their own header (tunnels, ICMP errors,
later fragments) are searched one by one by their outermost header.

The state of a flow is as large as the rules need, so it is a class of each ``Ids``: all runtimes of a cluster must have
the same rules.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import numpy as np

from nfactor.dataplane import nf
from nfactor.errors import CallerError
from nfactor.functions.ids_header import HeaderTables, header_matches
from nfactor.functions.ids_match import WORD_BITS, Scratch, Search, scan, view, words_of
from nfactor.functions.ids_rules import (
    ANY_STATE as ANY_STATE,
    BOTH,
    ESTABLISHED,
    TO_SERVER,
    Content,
    Rule,
    RuleSet as RuleSet,
    parse_rules as parse_rules,
)
from nfactor.functions.ids_stream import (
    TCP,
    advance,
    begins_anew,
    late_octets,
    new_octets,
    payload_position,
    shake_hands,
)

RULES_MAX: Final = 1024
"""Rules of one IDS; a flow's state has three bits a rule and direction."""

_ICMP, _UDP, _ICMPV6, _ANY = 1, 17, 58, 256
_NUMBERS: Final = {"udp": _UDP, "icmp": _ICMP, "ip": _ANY}  # the rest is TCP
_WORD: Final = (1 << WORD_BITS) - 1

_ANY_SIZE: Final = (1 << 31) - 1
_BOTH_SEEN: Final = 3
_SCALARS: Final = ("known", "seen", "client", "syn", "acked", "established", "ended", "synced", "http")

_HTTP_BEGINS: Final = (
    *(b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE "),
    b"HTTP/1.",
)
"""A stream that begins so makes its connection HTTP. They are searched for by rules of our own, before those given."""


@nf.record
class Alert:
    """A rule matched."""

    sid: nf.u32
    mark: nf.u64
    """Mark of the packet that completed the match (in a replay, its frame number)."""
    direction: nf.u8
    """0 if what matched went the way of the flow's first packet, else 1."""


class Ids(nf.NF):
    """Forwards everything, and emits an ``Alert`` for each match. ``CallerError`` if the rules exceed a limit."""

    name = "ids"
    records = (Alert,)

    def __init__(self, rules: RuleSet = RuleSet()) -> None:  # noqa: B008 - frozen
        if len(rules.rules) > RULES_MAX:
            raise CallerError(f"{len(rules.rules)} rules, {RULES_MAX} are the limit: use fewer")
        begins = _HTTP_BEGINS if any(rule.protocol == "http" for rule in rules.rules) else ()
        own = [Rule(0, "tcp-stream", contents=(Content(begin, reach=len(begin)),)) for begin in begins]
        self.rules = (*own, *rules.rules)
        self._http_bits = (1 << len(own)) - 1
        self._plan()
        self._search = self._search_for(self._streams)
        self._packet_search = self._search_for([a | b for a, b in zip(self._alone, self._loose, strict=True)])
        self._late, self._packet = Scratch(self._search), Scratch(self._packet_search)
        self._matching = nf.numbers(nf.u64, self._words)
        self.State = _state_class(self._search)  # type: ignore[misc]  # its size follows from the rules

    def _plan(self) -> None:
        """Bit sets over rules, and what a rule demands as numbers."""
        rules = self.rules
        self._words = words_of(len(rules))
        self._header = HeaderTables([(rule.source, rule.target) for rule in rules])
        self._sid = view([rule.sid for rule in rules], np.uint32)
        self._protocol = view([_NUMBERS.get(rule.protocol, TCP) for rule in rules], np.int32)
        self._direction = view([rule.direction for rule in rules], np.uint8)
        self._both_ways = view([rule.both_ways for rule in rules], np.uint8)
        self._state = view([rule.state for rule in rules], np.uint8)
        self._http = view([rule.protocol == "http" for rule in rules], np.uint8)
        self._payload_min = view([rule.payload_min for rule in rules], np.int32)
        self._payload_max = view([_ANY_SIZE if r.payload_max is None else r.payload_max for r in rules], np.int32)
        self._streams = self._mask(lambda rule: bool(rule.contents) and not _by_packet(rule) and _on_tcp(rule))
        """Searched for in streams."""
        self._alone = self._mask(lambda rule: _by_packet(rule) or not rule.contents)
        """Matched against each packet alone, of TCP too."""
        self._loose = self._mask(lambda rule: rule.protocol in _NUMBERS or _by_packet(rule) or not rule.contents)
        """Matched against each packet that is no part of a stream."""
        self._bare = self._mask(lambda rule: not rule.contents)
        self._once = self._mask(_says_no_more_than_addresses)

    def _search_for(self, words: Sequence[int]) -> Search:
        bits = sum(word << (WORD_BITS * index) for index, word in enumerate(words))
        wanted = [(number, rule) for number, rule in enumerate(self.rules) if bits >> number & 1]
        return Search(wanted, len(self.rules))

    def _mask(self, belongs: Callable[[Rule], bool]) -> tuple[int, ...]:
        bits = sum(1 << number for number, rule in enumerate(self.rules) if belongs(rule))
        return tuple(bits >> (WORD_BITS * word) & _WORD for word in range(self._words))

    # ---------------------------------------------------------------- packets

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        """Search the packet; always FORWARD."""
        if pkt.version:
            if pkt.foreign or pkt.fragment:
                self._process_loose(pkt, fs, keep=False)
            elif pkt.protocol != TCP:
                self._process_loose(pkt, fs, keep=True)
            elif pkt.l4 >= 0:
                self._process_tcp(pkt, fs)
        return nf.FORWARD

    def _process_tcp(self, pkt: nf.Packet, fs: Any) -> None:
        d = pkt.direction
        if begins_anew(pkt, fs, d):
            _forget(fs)
        established = fs.established
        shake_hands(pkt, fs, d)
        if not fs.known >> d & 1:
            self._match_headers(pkt, fs.client == d)
            for word in range(self._words):
                fs.wanted[d * self._words + word] = self._matching[word] & self._streams[word]
                fs.applies[d * self._words + word] = self._matching[word] & self._alone[word]
            fs.known |= 1 << d
        self._match_packet(pkt, fs, fs.applies, d * self._words, established)
        if pkt.payload < pkt.payload_end:
            self._search_segment(pkt, fs, d)
        self._tell_streams(pkt, fs)

    def _process_loose(self, pkt: nf.Packet, fs: Any, *, keep: bool) -> None:
        """A packet that is no part of a stream. ``keep``: its header is the flow's, so what applies is asked once."""
        d, base = pkt.direction, pkt.direction * self._words
        if keep:
            fs.client = fs.client if fs.seen else d
            fs.seen |= 1 << d
            fs.established = 1 if fs.seen == _BOTH_SEEN else 0
        if not keep or not fs.known >> d & 1:
            self._match_headers(pkt, fs.client == d)
            for word in range(self._words):
                self._matching[word] &= self._loose[word]
                if keep:
                    fs.applies[base + word] = self._matching[word]
            fs.known |= 1 << d if keep else 0
        if keep:
            self._match_packet(pkt, fs, fs.applies, base, fs.established)
        else:
            self._match_packet(pkt, fs, self._matching, 0, fs.established)

    def _match_headers(self, pkt: nf.Packet, from_client: bool) -> None:
        """Which rules' headers and directions the packet matches, into ``_matching``."""
        for word in range(self._words):
            self._matching[word] = 0
        for number in range(len(self._sid)):
            protocol = self._protocol[number]
            if protocol not in (_ANY, pkt.protocol) and not (protocol == _ICMP and pkt.protocol == _ICMPV6):
                continue
            direction = self._direction[number]
            if direction != BOTH and (direction == TO_SERVER) != from_client:
                continue
            if header_matches(self._header, number, pkt, turned=False) or (
                self._both_ways[number] and header_matches(self._header, number, pkt, turned=True)
            ):
                self._matching[number // WORD_BITS] |= 1 << number % WORD_BITS

    def _match_packet(self, pkt: nf.Packet, fs: Any, applies: list[int], base: int, established: int) -> None:
        """Rules that look at each packet alone, of those that the words of ``applies`` from ``base`` on tell."""
        told, scratch, wanted = pkt.direction * self._words, self._packet, 0
        for word in range(self._words):
            scratch.wanted[word] = applies[base + word] & ~self._bare[word]
            wanted |= scratch.wanted[word]
        if wanted:
            scratch.clear()
            scan(self._packet_search, scratch, 0, pkt.data, pkt.payload, pkt.payload_end, 0)
        for word in range(self._words):
            ready = applies[base + word] & self._bare[word] & ~fs.told[told + word]
            if wanted:
                ready |= scratch.complete[word]
            if ready:
                fs.told[told + word] |= ready & self._once[word]
                self._tell(pkt, word, ready, established, pkt.direction)

    def _search_segment(self, pkt: nf.Packet, fs: Any, d: int) -> None:
        """Search what a segment adds to its stream."""
        first, last = late_octets(pkt, fs, d)
        if first < last:
            self._search_late(pkt, fs, d, first, last)
        octets = new_octets(pkt, fs, d)
        wanted = 0
        for word in range(self._words):
            wanted |= fs.wanted[d * self._words + word]
        if octets and wanted:
            scan(self._search, fs, d, pkt.data, pkt.payload_end - octets, pkt.payload_end, fs.position[d])
        advance(fs, d, octets)

    def _search_late(self, pkt: nf.Packet, fs: Any, d: int, first: int, last: int) -> None:
        """Search a part of the payload that fills the last hole, from one position of the stream to another."""
        base, late = d * self._words, self._late
        for word in range(self._words):
            late.wanted[word] = fs.wanted[base + word]
        late.clear()
        start = pkt.payload + first - payload_position(pkt, fs, d)
        scan(self._search, late, 0, pkt.data, start, start + last - first, first)
        for word in range(self._words):
            fs.wanted[base + word] &= ~late.complete[word]
            fs.complete[base + word] |= late.complete[word]

    # ---------------------------------------------------------------- alerts

    def _tell_streams(self, pkt: nf.Packet, fs: Any) -> None:
        """Alert for rules whose contents were all found in a stream, as soon as the flow's state is as they ask."""
        for d in (0, 1):
            if fs.complete[d * self._words] & self._http_bits:
                fs.http = 1
                fs.complete[d * self._words] &= ~self._http_bits
        for index in range(2 * self._words):
            if fs.complete[index]:
                d, word = divmod(index, self._words)
                told = self._tell(pkt, word, fs.complete[index], fs.established, d, fs.http)
                fs.complete[index] &= ~told

    def _tell(self, pkt: nf.Packet, word: int, ready: int, established: int, d: int, http: int = 0) -> int:
        """Alert for those of the rules in the word that the flow's state and the packet's size let match; which."""
        told, octets = 0, pkt.payload_end - pkt.payload
        for bit in range(WORD_BITS):
            if ready >> bit & 1:
                rule = word * WORD_BITS + bit
                state = self._state[rule]
                if (
                    (state == ANY_STATE or (state == ESTABLISHED) == (established != 0))
                    and (http or not self._http[rule])
                    and self._payload_min[rule] <= octets <= self._payload_max[rule]
                ):
                    pkt.emit(Alert(sid=self._sid[rule], mark=pkt.mark, direction=d))
                    told |= 1 << bit
        return told


def _by_packet(rule: Rule) -> bool:
    return rule.protocol == "tcp-pkt" or rule.payload_max is not None


def _on_tcp(rule: Rule) -> bool:
    return rule.protocol == "ip" or rule.protocol not in _NUMBERS


def _says_no_more_than_addresses(rule: Rule) -> bool:
    """See the module's text on rules without contents."""
    ends = (rule.source, rule.target)
    return (
        not rule.contents
        and rule.payload_max is None
        and rule.state == ANY_STATE
        and not any(end.networks_not or end.ports or end.ports_not for end in ends)
    )


def _forget(fs: Any) -> None:
    """Make the state that of a new flow."""
    fs.known = fs.seen = fs.client = fs.syn = fs.acked = fs.established = fs.ended = fs.synced = fs.http = 0
    for array in (fs.exact, fs.folded, fs.first_seq, fs.next_seq, fs.position, fs.hole_at, fs.hole_octets):
        array[0] = array[1] = 0
    for array in (fs.wanted, fs.complete, fs.applies, fs.told, fs.chains, fs.used):
        for index in range(len(array)):
            array[index] = 0


def _state_class(search: Search) -> type:
    """The fields of ``ids_match.Progress`` and ``ids_stream.Connection``, and what the NF itself keeps."""

    def both(element: Any, count: int) -> Any:
        return Annotated[list[int], nf.array(element, 2 * count)]

    words = search.words
    fields: dict[str, Any] = {
        **dict.fromkeys(("position", "hole_at"), both(nf.i64, 1)),
        "pending": both(nf.i64, search.pending),
        **dict.fromkeys(("wanted", "complete", "applies", "told"), both(nf.u64, words)),
        "chains": both(nf.u64, search.chain_words),
        **dict.fromkeys(("exact", "folded", "first_seq", "next_seq", "hole_octets"), both(nf.u32, 1)),
        "used": both(nf.u16, search.contents),
        **dict.fromkeys(_SCALARS, nf.u8),
    }
    return nf.state(type("IdsState", (), {"__annotations__": fields, "__module__": __name__, "__slots__": ()}))
