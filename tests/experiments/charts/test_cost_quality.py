"""Charts: what is drawn, that names do not cover each other, and that files are whole and need no network."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pytest

from fairlead.experiments.baselines.frontier import Hull, best_fixed_mix
from fairlead.experiments.charts.cost_quality import PlanePoint, cost_quality_chart
from fairlead.experiments.charts.theme import save_chart

PROVIDERS = [
    PlanePoint(name=f"maker/model-{i}", cost_usd=cost, quality=quality)
    for i, (cost, quality) in enumerate(
        [(4e-5, 0.61), (2.4e-4, 0.72), (2.6e-4, 0.71), (2.5e-4, 0.715), (1.9e-3, 0.81), (9.5e-3, 0.86)]
    )
]
MIX = best_fixed_mix([p.cost_usd for p in PROVIDERS], [p.quality for p in PROVIDERS])
LINE = [
    PlanePoint(cost_usd=c, quality=q, quality_error=0.01, cost_error=c / 10)
    for c, q in [(4e-5, 0.62), (5e-4, 0.77), (1.5e-2, 0.88)]
]
ORACLE = Hull(np.array([3e-5, 1e-3, 5e-3]), np.array([0.6, 0.9, 0.95]))


def full_chart() -> alt.LayerChart:
    return cost_quality_chart(
        providers=PROVIDERS,
        fixed_mix=MIX,
        lines={"Router": LINE, "Supervised reference": LINE},
        oracle=ORACLE,
        title="T",
        subtitle="S",
    )


def rows(chart: alt.LayerChart) -> list[list[dict[str, Any]]]:
    """Return the data of every layer."""
    spec = chart.to_dict()
    return [
        list(layer["data"].get("values") or spec["datasets"][layer["data"]["name"]])
        for layer in spec["layer"]
    ]


def test_the_lines_hold_what_they_were_given() -> None:
    line = rows(full_chart())[0]
    series = {row["series"] for row in line}
    assert series == {"Router", "Supervised reference", "Best fixed mix", "Oracle"}
    router = [(row["cost"], row["quality"]) for row in line if row["series"] == "Router"]
    assert sorted(router) == [(pytest.approx(1000 * p.cost_usd), p.quality) for p in LINE]
    for row in line:
        if row["series"] == "Best fixed mix":
            assert row["quality"] == pytest.approx(MIX.quality_at(row["cost"] / 1000))


def test_only_what_is_given_is_drawn() -> None:
    chart = cost_quality_chart(providers=PROVIDERS[:1], lines={}, fixed_mix=best_fixed_mix([4e-5], [0.61]))
    assert {row["series"] for row in rows(chart)[0]} == {"Best fixed mix"}
    assert "title" not in chart.to_dict()


def test_axes_have_units_and_costs_are_logarithmic() -> None:
    encoding = full_chart().to_dict()["layer"][0]["encoding"]
    assert encoding["x"]["scale"]["type"] == "log"
    assert "USD per 1,000 requests" in encoding["x"]["title"]
    assert "0 to 1" in encoding["y"]["title"]


def test_names_do_not_cover_each_other_or_leave_the_plot(tmp_path: Path) -> None:
    svg = save_chart(full_chart(), tmp_path / "c.svg").read_text(encoding="utf-8")
    pattern = r'text-anchor="(start|end)" transform="translate\(([\d.]+),([\d.]+)\)"[^>]*>(maker/model-\d)<'
    boxes = {
        name: (float(x) - 80 * (anchor == "end"), float(y)) for anchor, x, y, name in re.findall(pattern, svg)
    }
    assert set(boxes) == {p.name for p in PROVIDERS}
    for (x0, y0), (x1, y1) in combinations(boxes.values(), 2):
        assert abs(x0 - x1) > 80 or abs(y0 - y1) > 11
    assert all(0 <= x < 640 and 0 <= y < 410 for x, y in boxes.values())


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<svg"), (".html", b"<!DOCTYPE")]
)
def test_files_are_whole_and_need_no_network(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"chart{suffix}"
    path.write_text("old", encoding="utf-8")
    assert save_chart(full_chart(), path) == path
    content = path.read_bytes()
    assert content.startswith(start)
    assert not re.search(rb"(src|href)\s*=\s*[\"']https?://", content)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chart.svg"
    path.write_text("old", encoding="utf-8")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_chart(full_chart(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["chart.svg"]
    assert path.read_text(encoding="utf-8") == "old"


def test_bad_input_is_explained(tmp_path: Path) -> None:
    chart = cost_quality_chart(providers=PROVIDERS, lines={}, fixed_mix=MIX)
    with pytest.raises(ValueError, match=r"'\.pdf': use \.png, \.svg or \.html"):
        save_chart(chart, tmp_path / "c.pdf")
    with pytest.raises(FileNotFoundError, match="create it first"):
        save_chart(chart, tmp_path / "absent" / "c.svg")
    with pytest.raises(ValueError, match="no point"):
        cost_quality_chart(providers=[], lines={}, fixed_mix=MIX)
    with pytest.raises(ValueError, match="logarithmic"):
        cost_quality_chart(providers=[PlanePoint(cost_usd=0.0, quality=0.5)], lines={}, fixed_mix=MIX)
