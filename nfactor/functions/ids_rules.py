"""The rule language of the IDS: the part of Suricata's that it understands, and a refusal by line for all else.

    alert tcp $HOME_NET any -> any 80 (msg:"login"; flow:to_server,established; content:"USER "; nocase; sid:1;)

Protocols are ``tcp`` and ``tcp-stream`` (the contents are searched for in the reassembled stream of either direction),
``tcp-pkt`` (in each packet alone), ``udp``, ``icmp``, ``ip`` (the stream where there is one, else each packet) and
``http`` (``tcp`` where one side speaks HTTP/1). Keywords that change what matches:

- ``content`` with ``|41 42|`` and ``\\`` escapes; ``nocase``; ``offset``, ``depth``, ``startswith``: where it may lie
  in the stream or packet; ``distance``, ``within``: where it may lie behind the end of the content before it;
  ``within`` counts from behind ``distance``, as in Suricata; ``endswith``: it ends with the segment or packet.
  (In TCP, Suricata tries ``offset`` and ``depth`` on each packet too; here that takes ``tcp-pkt``.)
- ``flow``: ``to_server``, ``from_client``, ``to_client``, ``from_server``, ``established``, ``not_established``,
  ``stateless``;
- ``dsize``: the octets of the packet's payload; such a rule looks at each packet alone, even in TCP.

``msg``, ``rev``, ``gid``, ``classtype``, ``reference``, ``metadata``, ``priority`` and ``fast_pattern`` are read and
change nothing. A rule that nobody understands must not seem to be watched for: everything else, negated contents too,
is a ``RuleError`` that names file, line and keyword.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import attrs

from nfactor.errors import RuleError
from nfactor.functions.ids_header import ANYWHERE, VARIABLES, Endpoint, parse_endpoint

CONTENT_OCTETS_MAX: Final = 255
POSITION_MAX: Final = 0xFFFF
"""The greatest ``offset``, ``depth``, ``distance``, ``within`` and ``dsize``, as in Suricata."""
PENDING_MAX: Final = 256
"""Matches of a content that may have to be remembered at once, per flow and direction, because the content after it may
yet turn up within its reach. How many that can be follows from the rule, so none is ever lost; a rule that needs more
is refused."""

ANY_STATE, ESTABLISHED, NOT_ESTABLISHED = 0, 1, 2
BOTH, TO_SERVER, TO_CLIENT = 0, 1, 2
PROTOCOLS: Final = ("tcp", "tcp-stream", "tcp-pkt", "http", "udp", "icmp", "ip")

_FLOW: Final = {
    "to_server": ("direction", TO_SERVER),
    "from_client": ("direction", TO_SERVER),
    "to_client": ("direction", TO_CLIENT),
    "from_server": ("direction", TO_CLIENT),
    "established": ("state", ESTABLISHED),
    "not_established": ("state", NOT_ESTABLISHED),
    "stateless": ("state", ANY_STATE),
}
_WITHOUT_EFFECT: Final = frozenset(("msg", "rev", "gid", "classtype", "reference", "metadata", "priority"))


@attrs.frozen
class Content:
    """One content and where it may lie. Positions count from the beginning of the stream or packet, or, if it is
    ``relative``, from the end of the content before it."""

    pattern: bytes
    nocase: bool = False
    relative: bool = False
    low: int = 0
    """The least start: ``offset`` or ``distance``."""
    reach: int | None = None
    """The greatest end: ``offset + depth`` or ``distance + within``; None for no limit."""
    ends: bool = False
    """``endswith``."""


@attrs.frozen
class Rule:
    """One rule of a file."""

    sid: int
    protocol: str
    source: Endpoint = ANYWHERE
    target: Endpoint = ANYWHERE
    both_ways: bool = False
    """``<>`` stands between the two."""
    direction: int = BOTH
    state: int = ANY_STATE
    contents: tuple[Content, ...] = ()
    payload_min: int = 0
    payload_max: int | None = None
    """``dsize``; None if it is not given."""


@attrs.frozen
class RuleSet:
    """The rules of a file, in order."""

    rules: tuple[Rule, ...] = ()


def parse_rules(lines: Iterable[str], file: str = "rules", variables: Mapping[str, str] = VARIABLES) -> RuleSet:
    """Read a rule file's lines. Raises ``RuleError`` naming file, line and what is wrong; nothing is half-read."""
    rules: list[Rule] = []
    sids: set[int] = set()
    for number, text in _logical_lines(lines):
        try:
            rule = _rule(text, variables)
            if rule.sid in sids:
                raise ValueError(f"a second rule with sid {rule.sid}")
        except ValueError as error:
            raise RuleError(file, number, str(error)) from None
        sids.add(rule.sid)
        rules.append(rule)
    return RuleSet(tuple(rules))


def _logical_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Rules with their first line's number: a backslash at the end joins lines, comments are skipped."""
    begun, first = "", 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not begun:
            if not text or text.startswith("#"):
                continue
            first = number
        begun += text
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
            continue
        yield first, begun
        begun = ""
    if begun:
        yield first, begun.strip()


def _rule(text: str, variables: Mapping[str, str]) -> Rule:
    header, bracket, options = text.partition("(")
    if not bracket or not options.endswith(")"):
        raise ValueError("a rule is ACTION PROTOCOL SOURCE PORT -> TARGET PORT (KEYWORD; KEYWORD:VALUE; ...)")
    words = _header_words(header)
    if words[0] != "alert":
        raise ValueError(f"action {words[0]} is not supported; write alert")
    if len(words) != 7:
        raise ValueError("a header is ACTION PROTOCOL SOURCE PORT -> TARGET PORT")
    _, protocol, source, source_port, arrow, target, target_port = words
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol} is not supported; write {', '.join(PROTOCOLS)}")
    if arrow not in ("->", "<>"):
        raise ValueError(f"{arrow!r} stands where -> or <> is expected")
    reader = _Options()
    for keyword, value in _options(options[:-1]):
        reader.take(keyword, value)
    return reader.rule(
        protocol,
        parse_endpoint(source, source_port, variables),
        parse_endpoint(target, target_port, variables),
        arrow == "<>",
    )


def _header_words(header: str) -> list[str]:
    """The words of a header; spaces inside brackets part nothing."""
    words, depth, inside = [""], 0, False
    for character in header:
        depth += (character == "[") - (character == "]")
        inside = depth > 0
        if not character.isspace():
            words[-1] += character
        elif not inside and words[-1] and words[-1] != "!":
            words.append("")
    return [word for word in words if word] or [""]


def _options(text: str) -> Iterator[tuple[str, str | None]]:
    """Keywords and values; a semicolon in quotes or behind a backslash belongs to the value."""
    option, quoted, escaped = "", False, False
    for character in text:
        if character == ";" and not quoted and not escaped:
            yield _keyword(option)
            option = ""
            continue
        quoted ^= character == '"' and not escaped
        escaped = character == "\\" and not escaped
        option += character
    if option.strip():
        raise ValueError(f"no semicolon behind {option.strip()[:40]!r}")


def _keyword(option: str) -> tuple[str, str | None]:
    keyword, colon, value = option.partition(":")
    if not keyword.strip():
        raise ValueError("a semicolon without a keyword")
    return keyword.strip(), value.strip() if colon else None


@attrs.define
class _Draft:
    """A content whose modifiers are still being read."""

    pattern: bytes
    values: dict[str, int] = attrs.Factory(dict)
    flags: set[str] = attrs.Factory(set)

    def refuse_both(self, ones: set[str], others: set[str]) -> None:
        """``ValueError`` where a keyword of either set was given."""
        given = self.values.keys() | self.flags
        if given & ones and given & others:
            raise ValueError(
                f"keywords {min(given & ones)} and {min(given & others)} do not go together for one content"
            )

    def content(self, previous: Content | None) -> Content:
        """The finished content, or ``ValueError``."""
        self.refuse_both({"offset", "depth", "startswith"}, {"distance", "within"})
        self.refuse_both({"offset", "depth"}, {"startswith"})
        octets = len(self.pattern)
        for keyword in ("depth", "within"):
            if self.values.get(keyword, octets) < octets:
                raise ValueError(f"keyword {keyword} is less than the {octets} octets of its content")
        values = {"depth": octets, **self.values} if "startswith" in self.flags else self.values
        relative = bool(values.keys() & {"distance", "within"})
        low = values.get("distance" if relative else "offset", 0)
        room = values.get("within" if relative else "depth")
        nocase, ends = "nocase" in self.flags, "endswith" in self.flags
        reach = None if room is None else low + room
        if previous is None:  # relative to the beginning
            return Content(self.pattern, nocase, False, max(low, 0), reach, ends)
        content = Content(self.pattern, nocase, relative, low, reach, ends)
        if relative and low < -octets:
            raise ValueError(f"keyword distance: {low} reaches further back than its content is long; not supported")
        if relative and (needed := pending_of(previous, content)) > PENDING_MAX:
            keyword = "within" if "distance" not in self.values else "distance"
            raise ValueError(
                f"keyword {keyword}: up to {needed} matches of the content before would have to be remembered, "
                f"{PENDING_MAX} are the limit"
            )
        return content


def pending_of(previous: Content, content: Content) -> int:
    """How many ends of ``previous`` may have to be remembered at once until ``content`` is found behind one of them.

    Without ``within`` it is the first one alone. Otherwise an end counts for as long as it is in reach; two matches lie
    at least a period of the pattern apart; and of three that lie closer together than the room to move that ``within``
    gives, the one in the middle says nothing that the other two do not.
    """
    if content.reach is None:
        return 1
    room = content.reach - content.low - len(content.pattern) + 2  # w + 2, w being the room to move
    return min(content.reach // period_of(previous) + 1, 2 * (content.reach // room) + 2)


def period_of(content: Content) -> int:
    """The least distance between two matches."""
    pattern = content.pattern.lower() if content.nocase else content.pattern
    return next(shift for shift in range(1, len(pattern) + 1) if pattern.startswith(pattern[shift:]))


class _Options:
    """Gathers the options of one rule; whatever it does not know is refused by name."""

    def __init__(self) -> None:
        self._drafts: list[_Draft] = []
        self._sid: int | None = None
        self._flow: dict[str, int] = {}
        self._payload: tuple[int, int | None] = (0, None)
        self._readers: dict[str, Callable[[str, str | None], None]] = {
            "content": self._content,
            "sid": self._read_sid,
            "flow": self._read_flow,
            "dsize": self._dsize,
            **dict.fromkeys(("nocase", "startswith", "endswith"), self._flag),
            **dict.fromkeys(("offset", "depth", "distance", "within"), self._value),
            "fast_pattern": self._fast_pattern,
        }

    def take(self, keyword: str, value: str | None) -> None:
        """One option."""
        if keyword in self._readers:
            self._readers[keyword](keyword, value)
        elif keyword not in _WITHOUT_EFFECT:
            raise ValueError(f"keyword {keyword} is not supported")

    def rule(self, protocol: str, source: Endpoint, target: Endpoint, both_ways: bool) -> Rule:
        """The rule of all that was taken."""
        if self._sid is None:
            raise ValueError("keyword sid is missing")
        contents: list[Content] = []
        for draft in self._drafts:
            contents.append(draft.content(contents[-1] if contents else None))
        if protocol in ("http", "tcp-stream") and (not contents or self._payload[1] is not None):
            raise ValueError(f"protocol {protocol} needs a content, and no dsize, to be supported")
        return Rule(
            self._sid,
            protocol,
            source,
            target,
            both_ways,
            self._flow.get("direction", BOTH),
            self._flow.get("state", ANY_STATE),
            tuple(contents),
            *self._payload,
        )

    def _content(self, keyword: str, value: str | None) -> None:
        value = value or ""
        if value.startswith("!"):
            raise ValueError("keyword content: negation by ! is not supported")
        if len(value) < 2 or value[0] != '"' or value[-1] != '"':
            raise ValueError("keyword content takes a text in quotes")
        self._drafts.append(_Draft(_octets(value[1:-1])))

    def _last(self, keyword: str) -> _Draft:
        if not self._drafts:
            raise ValueError(f"keyword {keyword} stands before any content")
        return self._drafts[-1]

    def _flag(self, keyword: str, value: str | None) -> None:
        if value is not None:
            raise ValueError(f"keyword {keyword} takes no value")
        self._last(keyword).flags.add(keyword)

    def _fast_pattern(self, keyword: str, value: str | None) -> None:
        self._last(keyword)

    def _value(self, keyword: str, value: str | None) -> None:
        draft = self._last(keyword)
        if keyword in draft.values:
            raise ValueError(f"a second {keyword} for one content")
        draft.values[keyword] = _number(keyword, value, POSITION_MAX, signed=keyword == "distance")

    def _read_sid(self, keyword: str, value: str | None) -> None:
        if self._sid is not None:
            raise ValueError("a second sid")
        self._sid = _number(keyword, value, 0xFFFF_FFFF)

    def _read_flow(self, keyword: str, value: str | None) -> None:
        for word in (value or "").split(","):
            if word.strip() not in _FLOW:
                raise ValueError(f"keyword flow: option {word.strip()!r} is not supported")
            kind, meaning = _FLOW[word.strip()]
            if self._flow.setdefault(kind, meaning) != meaning:
                raise ValueError(f"keyword flow: {word.strip()} contradicts what stands before it")

    def _dsize(self, keyword: str, value: str | None) -> None:
        text = (value or "").replace(" ", "")
        low, between, high = text.partition("<>")
        if between:  # both ends excluded, as in Suricata
            self._payload = _number(keyword, low, POSITION_MAX) + 1, _number(keyword, high, POSITION_MAX) - 1
        elif text.startswith(">"):
            self._payload = _number(keyword, text[1:], POSITION_MAX) + 1, POSITION_MAX
        elif text.startswith("<"):
            self._payload = 0, _number(keyword, text[1:], POSITION_MAX) - 1
        else:
            self._payload = (_number(keyword, text, POSITION_MAX),) * 2


def _number(keyword: str, text: str | None, maximum: int, *, signed: bool = False) -> int:
    text = text or ""
    digits = text[1:] if signed and text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) <= maximum):
        raise ValueError(f"keyword {keyword}: {text[:40]!r} is no number up to {maximum}; variables are not supported")
    return -int(digits) if text[0] == "-" else int(digits)


def _hexadecimal(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"keyword content: |{text[:40]}| is not hexadecimal") from None


def _octets(text: str) -> bytes:
    """The octets that a content's text stands for."""
    octets, at = bytearray(), 0
    while at < len(text):
        character = text[at]
        if character == "|":
            end = text.find("|", at + 1)
            if end < 0:
                raise ValueError("keyword content: a | is not closed")
            octets += _hexadecimal(text[at + 1 : end])
            at = end
        elif character == "\\":
            at += 1
            if text[at : at + 1] not in ("\\", '"', ";", ":"):
                raise ValueError('keyword content: a backslash stands before other than \\ " ; :')
            octets += text[at].encode()
        elif character in '";':
            raise ValueError(f"keyword content: {character} needs a backslash before it")
        else:
            octets += character.encode()
        at += 1
    if not 1 <= len(octets) <= CONTENT_OCTETS_MAX:
        raise ValueError(f"keyword content: {len(octets)} octets; 1 to {CONTENT_OCTETS_MAX} are possible")
    return bytes(octets)
