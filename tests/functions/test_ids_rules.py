"""The rule language of the IDS: what it understands, and that it refuses the rest by line and keyword."""

import pytest
from hypothesis import example, given, strategies as st

from nfactor.errors import RuleError
from nfactor.functions.ids_rules import BOTH, ESTABLISHED, TO_CLIENT, Content, Rule, RuleSet, parse_rules

HEADER = "alert tcp any any -> any any"


def one(options: str, header: str = HEADER) -> Rule:
    (rule,) = parse_rules([f"{header} ({options})"]).rules
    return rule


def test_a_rule_with_everything() -> None:
    rule = one(
        'msg:"a; b\\"(c)"; flow:established,to_client; content:"ab|43 44|\\;"; nocase; fast_pattern; offset:2; '
        'depth:9; content:"E"; distance:1; within:4; reference:url,x.org; metadata:a b, c d; gid:1; '
        "rev:2; priority:3; sid:7;"
    )
    expected = (
        Content(b"abCD;", nocase=True, low=2, reach=11),
        Content(b"E", relative=True, low=1, reach=5),
    )
    assert (7, "tcp", TO_CLIENT, ESTABLISHED, expected) == (
        *(rule.sid, rule.protocol, rule.direction, rule.state),
        rule.contents,
    )


def test_comments_empty_lines_and_continued_lines() -> None:
    lines = ["# a comment", "", f"{HEADER} (content:\\", '"a"; sid:1;)', f"  {HEADER} (sid:2;)"]
    assert [1, 2] == [rule.sid for rule in parse_rules(lines).rules]
    assert RuleSet() == parse_rules([])
    with pytest.raises(RuleError, match=r"^rules:2: keyword sid is missing"):
        parse_rules(["#", f"{HEADER} (msg:\\", '"x";)\\'])


def test_relative_to_nothing_is_relative_to_the_beginning() -> None:
    assert (Content(b"ab", low=3, reach=8),) == one('content:"ab"; distance:3; within:5; sid:1;').contents
    assert (Content(b"ab", low=0, reach=2, ends=True),) == one('content:"ab"; startswith; endswith; sid:1;').contents


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5", (5, 5)), (">5", (6, 65535)), ("<5", (0, 4)), ("5<>9", (6, 8)), (" 5 <> 9 ", (6, 8))],
)
def test_dsize(value: str, expected: tuple[int, int]) -> None:
    rule = one(f"dsize:{value}; sid:1;")
    assert expected == (rule.payload_min, rule.payload_max)
    assert (BOTH, ()) == (rule.direction, rule.contents)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ('content:"a"; pcre:"/a;b/i"; sid:1;', "keyword pcre is not supported"),
        ("http.uri; sid:1;", "keyword http.uri is not supported"),
        ('content:!"a"; sid:1;', "keyword content: negation by ! is not supported"),
        ("flow:only_stream; sid:1;", "keyword flow: option 'only_stream' is not supported"),
        ("flow:to_server,to_client; sid:1;", "keyword flow: to_client contradicts what stands before it"),
        ('content:"abc"; distance:-4; sid:1;', None),
        (
            'content:"x"; content:"abc"; distance:-4; sid:1;',
            "keyword distance: -4 reaches further back than its content",
        ),
        (
            'content:"x"; content:"ab"; distance:600; within:2; sid:1;',
            "keyword distance: up to 603 matches of the content",
        ),
        ('content:"x"; content:"ab"; distance:x; sid:1;', "keyword distance: 'x' is no number up to 65535; variables"),
        ('content:"abc"; depth:2; sid:1;', "keyword depth is less than the 3 octets of its content"),
        ('content:"abc"; within:2; sid:1;', "keyword within is less than the 3 octets of its content"),
        ('content:"a"; offset:1; within:3; sid:1;', "keywords offset and within do not go together for one content"),
        ('content:"a"; offset:1; offset:3; sid:1;', "a second offset for one content"),
        ('content:"a"; nocase:1; sid:1;', "keyword nocase takes no value"),
        ("nocase; sid:1;", "keyword nocase stands before any content"),
        ("content:a; sid:1;", "keyword content takes a text in quotes"),
        ("content; sid:1;", "keyword content takes a text in quotes"),
        ('content:""; sid:1;', "keyword content: 0 octets; 1 to 255 are possible"),
        ('content:"|4"; sid:1;', "keyword content: a | is not closed"),
        ('content:"|4|"; sid:1;', "keyword content: |4| is not hexadecimal"),
        ('content:"\\a"; sid:1;', "keyword content: a backslash stands before other than"),
        ('content:"a"b"; sid:1;', 'no semicolon behind \'content:"a"b"; sid:1;\''),
        ('content:"a"b""; sid:1;', 'keyword content: " needs a backslash before it'),
        ("sid:1", "no semicolon behind 'sid:1'"),
        (";", "a semicolon without a keyword"),
        ("sid:1; sid:2;", "a second sid"),
        ("sid:4294967296;", "keyword sid: '4294967296' is no number up to 4294967295"),
        ("dsize:a; sid:1;", "keyword dsize: 'a' is no number up to 65535"),
        ('msg:"x";', "keyword sid is missing"),
    ],
)
def test_a_bad_option_is_named(options: str, problem: str | None) -> None:
    if problem is None:
        one(options)
        return
    with pytest.raises(RuleError) as caught:
        parse_rules(["", f"{HEADER} ({options})"], "my.rules")
    assert ("my.rules", 2) == (caught.value.file, caught.value.line)
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("drop tcp any any -> any any", "action drop is not supported; write alert"),
        ("", "action  is not supported"),
        ("alert tls any any -> any any", "protocol tls is not supported"),
        ("alert http any any -> any any", "protocol http needs a content"),
        ("alert tcp any any any any", "a header is ACTION PROTOCOL SOURCE PORT -> TARGET PORT"),
        ("alert tcp any any <- any any", "'<-' stands where -> or <> is expected"),
        ("alert tcp $MINE any -> any any", "the variable $MINE is not defined"),
        ("alert tcp 1.2.3.400 any -> any any", "'1.2.3.400' is no address"),
        ("alert tcp fe80::1%x any -> any any", "'fe80::1%x' is no address"),
        ("alert tcp [1.2.3.4 any -> any any", "a header is"),
        ("alert tcp [1.2.3.4,any any -> any any] 1 -> 2 3", "address '1.2.3.4,"),
        ("alert tcp !any any -> any any", "address '!any' matches nothing"),
        ("alert tcp ![1.2.3.4,!1.2.3.5] any -> any any", "address '![1.2.3.4,!1.2.3.5]': a negation inside"),
        ("alert tcp [[1.2.3.0/24,!1.2.3.5]] any -> any any", "address '[[1.2.3.0/24,!1.2.3.5]]': a negation in a list"),
        ("alert tcp any 70000 -> any any", "'70000' is no port"),
        ("alert tcp any 9:8 -> any any", "ports '9:8' are no range"),
        ("alert tcp any [80 -> any any", "a header is"),
        ("alert tcp any [80]1 -> any any", "port '[80]1': a bracket is not closed"),
        ("alert tcp any " + "[" * 20 + "80" + "]" * 20 + " -> any any", "more than 16 port lists inside one another"),
    ],
)
def test_a_bad_header_is_named(header: str, problem: str) -> None:
    with pytest.raises(RuleError) as caught:
        one("sid:1;", header)
    assert 1 == caught.value.line
    assert caught.value.problem.startswith(problem) or "[1.2.3.4,any" in header


def test_a_rule_is_a_header_and_options_and_its_sid_is_its_own() -> None:
    with pytest.raises(RuleError, match="rules:1: a rule is ACTION"):
        parse_rules(["alert tcp any any -> any any"])
    with pytest.raises(RuleError, match="rules:2: a second rule with sid 1"):
        parse_rules([f"{HEADER} (sid:1;)"] * 2)


def test_variables_may_be_given_and_may_not_name_themselves() -> None:
    rule = one("sid:1;", "alert tcp $HOME_NET $HTTP_PORTS -> any [80,8000:,!9000]")
    assert (((80, 80),), ((80, 80), (8000, 65535)), ((9000, 9000),)) == (
        *(rule.source.ports, rule.target.ports, rule.target.ports_not),
    )
    with pytest.raises(RuleError, match="more than 16 address lists"):
        parse_rules(["alert ip $A any -> any any (sid:1;)"], variables={"A": "$A"})


WORDS = (
    *("alert", "tcp", "http", "any", "->", "<>", "!", "[", "]", ",", "$HOME_NET", "10.0.0.0/8", "80:", "(", ")", ";"),
    *('content:"', "|", "4", "\\", '"', "nocase", "offset:", "depth:", "distance:-", "within:", "flow:", "sid:1;", "#"),
    *("dsize:", "<>", "\N{SUPERSCRIPT TWO}", "\ud800", " ", " ", " "),
)


@pytest.mark.slow
@given(st.text() | st.lists(st.sampled_from(WORDS)).map("".join))
@example('alert tcp any any -> any any (content:"\ud800"; sid:1;)')
@example("alert tcp any \N{SUPERSCRIPT TWO} -> any any (sid:\N{SUPERSCRIPT TWO};)")
def test_any_text_is_read_or_refused_by_line(text: str) -> None:
    """There is no other exception, whatever the text."""
    refusals = []
    for whole in (text, f"{HEADER} ({text} sid:1;)", f"{HEADER.replace('any', text, 1)} (sid:1;)"):
        try:
            parse_rules(whole.splitlines())
        except RuleError as error:
            refusals.append(error)
    assert all(str(error).startswith(f"rules:{error.line}: ") for error in refusals)
