from __future__ import annotations

import pytest

from fairlead.optimizer.features import Featuriser

from .cases import MAKERS


@pytest.fixture(scope="session")
def featurisers() -> dict[str, Featuriser]:
    """One of each featuriser in `cases`, made once."""
    return {name: make() for name, make in MAKERS.items()}


@pytest.fixture(params=list(MAKERS))
def featuriser(request: pytest.FixtureRequest, featurisers: dict[str, Featuriser]) -> Featuriser:
    return featurisers[request.param]
