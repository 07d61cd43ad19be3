"""Which features a route looks at."""

from __future__ import annotations

from typing import Any

from fairlead.api.schemas.declarations import FeaturesIn
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import (
    Attributes,
    Block,
    CallerEmbedding,
    Encoder,
    SurfaceFeatures,
    TaskLabel,
)
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Route


def encoder(features: FeaturesIn) -> Encoder | None:
    """The encoder that a route declares; None where the caller sends the vectors."""
    if features.vector is not None:
        return None
    parts: list[Any] = []
    if features.surface:
        parts.append(SurfaceFeatures())
    if features.task:
        parts.append(TaskLabel(width=features.task))
    if features.attributes:
        parts.append(Attributes(width=features.attributes))
    if features.embedding is not None:
        parts.append(CallerEmbedding(width=features.embedding))
    if features.projection is not None:
        parts.append(_projection(features.projection))
    return Encoder(parts)


def _projection(path: str) -> Any:
    from fairlead.optimizer.features import TextProjection

    try:
        return TextProjection.load(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"features.projection {path!r} cannot be read ({error}): name another file"
        ) from None


def new_router(route: Route, features: FeaturesIn, made: Encoder | None) -> Router:
    """A router for the route that has learned nothing; ``made`` is the route's `encoder`."""
    if made is not None:
        return Router(route, encoder=made)
    assert features.vector is not None
    block = Block(name="vector", width=features.vector, isotropic=False)
    return Router(route, blocks=(block,), encoder_version=f"vector-1-{features.vector}")
