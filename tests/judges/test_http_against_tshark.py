"""Requests and responses of real captures, as the HTTP parser tells them, against tshark's answers for the same."""

import json
from typing import Any, TypeAlias

import pytest

from nfactor.dataplane.reference import ReferenceEngine
from nfactor.functions.http import HttpRequest, HttpResponse
from nfactor.packet.capture import open_capture
from tests.captures import ABSENT, capture_path, captures_root, manifest
from tests.functions.http_talk import engine_of

SLOW_PACKETS = 5_000
MOVED_PACKETS_MAX = 120
"""Captures up to this size are replayed once more with a move of all flows after every packet."""

Request: TypeAlias = tuple[int, str, str, str]
"""Frame that completed it, method, host, URI."""
Response: TypeAlias = tuple[int, int]
"""Frame that completed it, status."""


def parsed(name: str, *, moving: bool = False) -> tuple[list[Request], list[Response]]:
    """What the parser says of a capture; ``moving`` carries all flows to another engine after every packet."""
    engine, other = engine_of(), engine_of()
    records: list[Any] = []
    with open_capture(capture_path(name)) as reader:
        while burst := reader.read_burst(1 if moving else 256):
            engine.process(burst)
            assert not engine.statistics().nf_errors, engine.statistics().nf_error_sample
            if moving:
                records += engine.take_records()
                move(engine, other)
                engine, other = other, engine
    records += engine.take_records()
    return as_rows(records)


def move(source: ReferenceEngine, target: ReferenceEngine) -> None:
    keys, epochs = source.pick(1_000_000)
    assert not target.hold(keys, epochs + 1).any()
    records, statuses = source.depart(keys)
    assert not statuses.any()
    assert not target.install(keys, epochs + 1, records).any()
    assert not source.forget(keys).any()


def as_rows(records: list[Any]) -> tuple[list[Request], list[Response]]:
    requests = [
        (row.mark, row.method.decode(), row.host.decode("ascii", "replace"), row.uri.decode("ascii", "replace"))
        for row in records
        if isinstance(row, HttpRequest)
    ]
    return requests, [(row.mark, row.status) for row in records if isinstance(row, HttpResponse)]


def expected(name: str) -> tuple[list[Request], list[Response]]:
    """What tshark says; an absent host is empty."""
    root = captures_root()
    assert root is not None, ABSENT
    http = json.loads((root / "expected" / f"{name}.json").read_text(encoding="utf-8"))["http"]
    requests = [(row["frame"], row["method"], row["host"] or "", row["uri"]) for row in http["request_list"]]
    return requests, [(row["frame"], row["status"]) for row in http["response_list"]]


JUDGED = [row for row in manifest() if row["plain"] and (row["judge_http_requests"] or row["judge_http_responses"])]
CAPTURES = [
    pytest.param(row, id=row["name"], marks=[pytest.mark.slow] if row["packets"] > SLOW_PACKETS else [])
    for row in JUDGED
] or [pytest.param({})]
SMALL = [
    pytest.param(row, id=row["name"])
    for row in JUDGED
    if row["packets"] <= MOVED_PACKETS_MAX and expected(row["name"])[0]
] or [pytest.param({})]


def judge(capture: dict[str, Any], answers: tuple[list[Request], list[Response]]) -> None:
    requests, responses = answers
    expected_requests, expected_responses = expected(capture["name"])
    if capture["judge_http_requests"]:
        assert expected_requests == requests
    if capture["judge_http_responses"]:
        assert expected_responses == responses


@pytest.mark.skipif(captures_root() is None, reason=ABSENT)
@pytest.mark.parametrize("capture", CAPTURES)
def test_requests_and_responses_are_those_that_tshark_finds(capture: dict[str, Any]) -> None:
    """The same rows in the same order, each completed by the same frame."""
    judge(capture, parsed(capture["name"]))


@pytest.mark.skipif(captures_root() is None, reason=ABSENT)
@pytest.mark.slow
@pytest.mark.parametrize("capture", SMALL)
def test_flows_may_move_between_any_two_packets(capture: dict[str, Any]) -> None:
    """All flows of a capture change the engine after every single packet, and the rows stay the same."""
    judge(capture, parsed(capture["name"], moving=True))
