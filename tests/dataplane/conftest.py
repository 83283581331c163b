"""Every test of an engine is one of both engines, and every test of a switch's flow table one of both tables."""

import pytest

from nfactor.compiled.engines import open_owners
from nfactor.dataplane.owners import Owners
from nfactor.packet.classifier import FlowClassifier
from tests.dataplane import tables, test_engines


@pytest.fixture(params=["reference", "compiled"])
def kind_of_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that ``engine_of`` opens are of this kind; chains that cannot be compiled are interpreted under both."""
    monkeypatch.setattr(test_engines, "KIND", "auto" if request.param == "compiled" else "reference")


@pytest.fixture(params=["reference", "compiled"])
def kind_of_table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that ``owners_of`` opens are of this kind."""

    def owners_of(flows_max: int) -> Owners:
        return open_owners(request.param, FlowClassifier("auto"), flows_max=flows_max)

    monkeypatch.setattr(tables, "owners_of", owners_of)
