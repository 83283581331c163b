"""The IDS against OISF's own test cases for Suricata: a capture, rules, and how often each must alert."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import TimeOuts
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.errors import RuleError
from nfactor.functions.ids import Ids, RuleSet, parse_rules
from nfactor.packet.capture import open_capture
from nfactor.packet.classifier import FlowClassifier
from tests.captures import ABSENT, captures_root

UNDERSTOOD = {
    "alert-no-3whs-established",
    "alert-testmyids-not-established",
    "bug-3286-01-no-evasion",
    "bug-docs-5030-01",
    "bug-docs-5030-02",
    "eve-payload-04-partial-overlap",
    "like-ip-only-01",
    "tcp-split-handshake-01-4whs",
    "tcp-split-handshake-02-5whs",
}
"""Cases all of whose rules are understood. A keyword that is learnt adds some; none may silently drop out."""


def cases() -> list[dict[str, Any]]:
    root = captures_root()
    if root is None or not (root / "ids" / "cases.json").is_file():
        return []
    rows = json.loads((root / "ids" / "cases.json").read_text(encoding="utf-8"))
    return [row for row in rows if folder_of(row).is_dir()]


def folder_of(case: dict[str, Any]) -> Path:
    root = captures_root()
    assert root is not None
    return root / "ids" / str(case["split"]) / str(case["case"])


def read_rules(case: dict[str, Any]) -> RuleSet:
    return parse_rules((folder_of(case) / "test.rules").read_text(encoding="utf-8").splitlines(), "test.rules")


def count_alerts(case: dict[str, Any], rules: RuleSet) -> dict[str, int]:
    engine = ReferenceEngine(Chain.of([Ids(rules)]), FlowClassifier("five-tuple"), time_outs=TimeOuts(never=True))
    with open_capture(folder_of(case) / "input.pcap") as reader:
        while burst := reader.read_burst(256):
            engine.process(burst)
    assert {} == engine.statistics().nf_errors, engine.statistics().nf_error_sample
    return dict(Counter(str(alert.sid) for alert in engine.take_records()))


@pytest.mark.parametrize("case", [pytest.param(case, id=case["case"]) for case in cases()] or [pytest.param({})])
def test_alerts_are_those_that_oisf_expects(case: dict[str, Any]) -> None:
    """Sid by sid where OISF counts by sid, in total where it counts in total, and as Suricata 7 was measured."""
    if not case:
        pytest.skip(ABSENT)
    try:
        rules = read_rules(case)
    except RuleError as refusal:
        pytest.skip(f"{case['case']}: {refusal.problem}")
    alerts = count_alerts(case, rules)
    expected = case["oisf_expected_by_sid"]
    assert expected == {sid: alerts.get(sid, 0) for sid in expected}
    if case["oisf_expected_total"] is not None:
        assert case["oisf_expected_total"] == sum(alerts.values())
    assert case["suricata_7_0_10_measured"] == alerts


def test_no_case_drops_out() -> None:
    """Cases that were understood once stay understood."""
    if not cases():
        pytest.skip(ABSENT)
    understood = set()
    for case in cases():
        try:
            read_rules(case)
        except RuleError:
            continue
        understood.add(case["case"])
    assert set() == UNDERSTOOD - understood
