"""How the features behave on benchmark prompts and system logs; skipped where these are missing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fairlead.optimizer.features import SurfaceFeatures, TextProjection
from fairlead.optimizer.features.surface import NAMES
from fairlead.optimizer.types import Context
from tests.paths import ROOT

TABLES = Path(os.environ.get("FAIRLEAD_DATA", ROOT / ".." / "shared" / "data")) / "outcomes"


def table(name: str, *, n: int) -> list[tuple[str, str]]:
    """Read the first n different prompts, by text, and their tasks."""
    duckdb = pytest.importorskip("duckdb", reason="duckdb reads the outcome tables")
    path = TABLES / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no outcome table at {path}: set FAIRLEAD_DATA to the folder that holds outcomes/")
    query = (
        "SELECT prompt, min(task) FROM read_parquet($path) WHERE trim(prompt) <> '' "
        "GROUP BY prompt ORDER BY md5(prompt) LIMIT $n"
    )
    rows: list[tuple[str, str]] = duckdb.execute(query, {"path": str(path), "n": n}).fetchall()
    return rows


@pytest.mark.parametrize("name", ["paretobandit", "routerbench", "lookahead", "logparse"])
def test_surface_features_are_about_unit_size(name: str) -> None:
    features = SurfaceFeatures().transform([Context(text=prompt) for prompt, _ in table(name, n=1_000)])
    assert (np.abs(features) <= 3).mean() > 0.97
    assert (np.abs(features.mean(axis=0)) <= 3).all()
    assert np.count_nonzero(features.std(axis=0) > 0.05) >= len(NAMES) // 2


@pytest.mark.parametrize(
    ("name", "accuracy"), [("paretobandit", 0.9), ("lookahead", 0.85), ("logparse", 0.6)]
)
def test_projection_tells_tasks_apart(name: str, accuracy: float) -> None:
    """Nearest task centre, on prompts that the projection was not fitted on."""
    rows = table(name, n=2_000)
    learned, fresh = rows[:1_000], rows[1_000:]
    projection = TextProjection.fit(prompt for prompt, _ in learned)
    coordinates = projection.transform([Context(text=prompt) for prompt, _ in learned])
    tasks = np.array([task for _, task in learned])
    names = sorted(set(tasks))
    centres = np.array([coordinates[tasks == task].mean(axis=0) for task in names])
    points = projection.transform([Context(text=prompt) for prompt, _ in fresh])
    nearest = np.square(points[:, np.newaxis] - centres).sum(axis=2).argmin(axis=1)
    hits = np.mean([names[guess] == task for guess, (_, task) in zip(nearest, fresh, strict=True)])
    assert hits > accuracy
