"""Every test of an engine is one of both engines."""

import pytest

from tests.dataplane import test_engines


@pytest.fixture(params=["reference", "compiled"])
def kind_of_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that ``engine_of`` opens are of this kind; chains that cannot be compiled are interpreted under both."""
    monkeypatch.setattr(test_engines, "KIND", "auto" if request.param == "compiled" else "reference")
