"""The charts of a report, as Altair specifications for a given width in pixels.

Colours are those of Okabe and Ito (2008) and the scale of the map is viridis: people with any common colour
blindness tell them apart, and shapes or numbers repeat what they say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import altair as alt
import numpy as np

from fairlead.experiments.charts.cost_quality import FAINT, INK, themed
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.replay.partial_results import WEIGHT_EDGES
from fairlead.experiments.replay.result import ALL, Cell, Replay, TargetResult, bucket_middle_s

LOGGED: Final = "as logged"
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_SHAPES: Final = ("circle", "square", "triangle-up", "triangle-down", "triangle-right", "triangle-left")
_HEIGHT: Final = 300
_LONGEST: Final = 26
_PER: Final = 1000.0
_Row = dict[str, Any]


def short(name: str, longest: int = _LONGEST) -> str:
    """A name that leaves room for the chart: its end tells models apart."""
    return name if len(name) <= longest else "…" + name[1 - longest :]


def _data(rows: Sequence[_Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def _ends(one: Estimate, scale: float = 1.0) -> _Row:
    return {"value": scale * one.value, "low": scale * one.low, "high": scale * one.high}


def families(result: Replay) -> dict[str, list[TargetResult]]:
    """The targets by name; one that was judged at several goals is a family, and its frontier a line."""
    found: dict[str, list[TargetResult]] = {}
    for one in result.targets:
        found.setdefault(one.spec.name, []).append(one)
    return found


def plane(result: Replay, width: int) -> alt.LayerChart:
    """Quality against cost: logging policy, targets with intervals, providers and their best mix."""
    primary = result.settings.primary
    policies = [_point(LOGGED, result.incumbent["reward"], result.incumbent["cost_usd"])]
    for name, some in families(result).items():
        for one in some:
            label = name if len(some) > 1 else one.label
            policies.append(
                _point(label, one.estimates["reward"][primary], one.estimates["cost_usd"][primary])
            )
    labels = list(dict.fromkeys(row["policy"] for row in policies))
    colour = alt.Color("policy:N", title=None, scale=_scale(labels), legend=_legend(width))
    shape = alt.Shape(
        "policy:N",
        title=None,
        scale=alt.Scale(domain=labels, range=_cycled(_SHAPES, labels)),
        legend=_legend(width),
    )
    x = alt.X(
        "cost:Q",
        title="Mean cost, USD per 1,000 requests (log scale)",
        scale=alt.Scale(type="log", nice=False, padding=24),
        axis=alt.Axis(format="~g", tickCount=5),
    )
    y = alt.Y("quality:Q", title="Mean quality, 0 to 1", scale=alt.Scale(zero=False, padding=14))
    providers = [
        {
            "cost": _PER * cell.cost_usd,
            "quality": cell.quality,
            "name": short(cell.provider.rpartition("/")[2], 18),
        }
        for cell in result.cells
        if cell.task == ALL and cell.cost_usd > 0.0
    ]
    layers: list[alt.Chart] = []
    if result.hull is not None and len(result.hull.cost_usd) > 1:
        # Mixtures are straight lines in dollars, and curves on a logarithmic axis.
        start = max(float(result.hull.cost_usd[0]), 1e-4 * float(result.hull.cost_usd[-1]))
        spends = np.geomspace(start, float(result.hull.cost_usd[-1]), 120)
        curve = [
            {"cost": _PER * c, "quality": q}
            for c, q in zip(spends.tolist(), result.hull.quality_at(spends).tolist(), strict=True)
        ]
        mix = _data(curve).mark_line(color=FAINT, strokeDash=[5, 4], strokeWidth=1.5)
        layers.append(mix.encode(x=x, y=y, order="cost:Q"))
    lines = [row for row in policies if sum(other["policy"] == row["policy"] for other in policies) > 1]
    if lines:
        band = _data(lines).mark_area(opacity=0.16).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
        layers += [band, _data(lines).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, order="cost:Q")]
    bars = _data(policies).mark_rule(strokeWidth=1.4)
    layers.append(bars.encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour))
    layers.append(bars.encode(x=alt.X("cost_low:Q"), x2="cost_high:Q", y=y, color=colour))
    dots = _data(providers).mark_point(shape="diamond", size=55, color=INK, fill="white", opacity=1.0)
    layers.append(dots.encode(x=x, y=y))
    text = _data(providers).mark_text(dy=-11, fontSize=10, color=INK, align="center")
    layers.append(text.encode(x=x, y=y, text="name:N"))
    layers.append(
        _data(policies)
        .mark_point(size=85, filled=True, opacity=1.0)
        .encode(x=x, y=y, color=colour, shape=shape)
    )
    return _finished(layers, width, _HEIGHT + 40)


def _point(label: str, quality: Estimate, cost: Estimate) -> _Row:
    usd = _ends(cost, _PER)
    least = max(usd["value"], 1e-9) / 100.0
    return {
        "policy": label,
        "quality": quality.value,
        "low": quality.low,
        "high": quality.high,
        "cost": max(usd["value"], least),
        "cost_low": max(usd["low"], least),
        "cost_high": max(usd["high"], least),
    }


def _cycled(values: Sequence[str], labels: Sequence[str]) -> list[str]:
    return [values[i % len(values)] for i in range(len(labels))]


def _scale(labels: Sequence[str]) -> alt.Scale:
    colours = (
        [INK, *_cycled(COLOURS, labels[1:])] if labels and labels[0] == LOGGED else _cycled(COLOURS, labels)
    )
    return alt.Scale(domain=list(labels), range=colours)


def _legend(width: int) -> alt.Legend:
    return alt.Legend(
        orient="top", columns=1 if width < 500 else 3, labelLimit=width - 60, symbolSize=90, symbolOpacity=1.0
    )


def forest(
    rows: Sequence[tuple[str, Estimate]], width: int, *, title: str, zero: bool, bold: str = ""
) -> alt.LayerChart:
    """Values with intervals, one line each, in the given order."""
    data = [
        {"name": short(name), **_ends(one), "strong": name == bold}
        for name, one in rows
        if math.isfinite(one.half_width)
    ]
    order = [row["name"] for row in data]
    x = alt.X("value:Q", title=title, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickCount=5))
    y = alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labelLimit=170, labelFontSize=12))
    colour = alt.condition("datum.strong", alt.value(COLOURS[1]), alt.value(COLOURS[0]))
    layers: list[alt.Chart] = []
    if zero:
        layers.append(_data([{"value": 0.0}]).mark_rule(color=FAINT, strokeDash=[4, 4]).encode(x=x))
    layers.append(
        _data(data).mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour)
    )
    layers.append(_data(data).mark_point(size=70, filled=True, opacity=1.0).encode(x=x, y=y, color=colour))
    return _finished(layers, width - 150, 24 * max(len(data), 1) + 10)


def weights(one: TargetResult, width: int) -> alt.LayerChart:
    """How many decisions have which importance weight."""
    edges = WEIGHT_EDGES.tolist()
    rows: list[_Row] = []
    for i, count in enumerate(one.histogram):
        name = "0" if i == 0 else f"< {edges[2]:.2g}" if i == 1 else f"{edges[i]:.2g}"
        rows.append({"weight": name, "decisions": count})
    used = [i for i, count in enumerate(one.histogram) if count]
    shown = rows[min(used) : max(used) + 1] if used else rows
    x = alt.X(
        "weight:N",
        title="Importance weight, from",
        sort=[row["weight"] for row in shown],
        axis=alt.Axis(labelAngle=-60),
    )
    y = alt.Y("decisions:Q", title="Decisions", axis=alt.Axis(format="~s", tickCount=5))
    return _finished([_data(shown).mark_bar(color=COLOURS[0]).encode(x=x, y=y)], width, 220)


def over_time(result: Replay, one: TargetResult, width: int) -> alt.LayerChart:
    """Quality of both policies in equal spans of the log, with the target's band."""
    rows = []
    for part in one.over_time:
        when = datetime.fromtimestamp(bucket_middle_s(result, int(part.value)), UTC).isoformat()
        rows.append({"when": when, "policy": LOGGED, **_ends(part.incumbent)})
        rows.append({"when": when, "policy": short(one.label), **_ends(part.target)})
    # Quality has no place outside [0, 1]; the table has the ends as computed.
    rows = [
        row | {"low": max(row["low"], 0.0), "high": min(row["high"], 1.0)}
        for row in rows
        if math.isfinite(row["high"] - row["low"])
    ]
    labels = [LOGGED, short(one.label)]
    legend = alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1.0)
    colour = alt.Color("policy:N", title=None, scale=_scale(labels), legend=legend)
    dash = alt.StrokeDash(
        "policy:N", title=None, legend=None, scale=alt.Scale(domain=labels, range=[[5, 3], [1, 0]])
    )
    x = alt.X("when:T", title="Time of the decisions (UTC)", axis=alt.Axis(tickCount=5, labelOverlap=True))
    y = alt.Y("value:Q", title="Mean quality", scale=alt.Scale(zero=False))
    band = _data(rows).mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    return _finished(
        [band, _data(rows).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)],
        width,
        240,
    )


def win_map(cells: Sequence[Cell], width: int, *, tasks: int = 15) -> alt.LayerChart:
    """Quality by task and provider; the best of each task is framed."""
    sizes: dict[str, int] = {}
    for cell in cells:
        sizes[cell.task] = sizes.get(cell.task, 0) + cell.n
    commonest = sorted((task for task in sizes if task != ALL), key=lambda task: -sizes[task])
    shown = [*commonest[:tasks], ALL]
    best = {
        task: max((c for c in cells if c.task == task), key=lambda c: c.quality).provider for task in shown
    }
    narrow = width < 500
    rows: list[_Row] = [
        {
            "task": short(cell.task, 16 if narrow else 24),
            "provider": short(cell.provider.rpartition("/")[2], 16),
            "quality": cell.quality,
            "text": f"{cell.quality:.2f}",
            "best": best[cell.task] == cell.provider,
        }
        for cell in cells
        if cell.task in shown
    ]
    providers = list(dict.fromkeys(row["provider"] for row in rows))
    x = alt.X(
        "provider:N",
        title=None,
        sort=providers,
        axis=alt.Axis(labelAngle=-60 if narrow else -35, orient="top", labelLimit=120),
    )
    y = alt.Y(
        "task:N",
        title=None,
        sort=[short(t, 16 if narrow else 24) for t in shown],
        axis=alt.Axis(labelLimit=150),
    )
    colour = alt.Color(
        "quality:Q", title="Quality", scale=alt.Scale(scheme="viridis", domain=[0, 1]), legend=None
    )
    grid = _data(rows).mark_rect().encode(x=x, y=y, color=colour)
    frame = (
        _data([row for row in rows if row["best"]])
        .mark_rect(fill=None, stroke="#D55E00", strokeWidth=3)
        .encode(x=x, y=y)
    )
    layers = [grid, frame]
    if len(providers) <= (7 if narrow else 16):
        ink = alt.condition("datum.quality > 0.55", alt.value("#000000"), alt.value("#ffffff"))
        text = _data(rows).mark_text(fontSize=10 if narrow else 12).encode(x=x, y=y, text="text:N", color=ink)
        layers.append(text)
    return _finished(layers, width - 110, 28 * len(shown))


def _finished(layers: Sequence[alt.Chart], width: int, height: int) -> alt.LayerChart:
    return themed(alt.LayerChart(layer=list(layers)).properties(width=width - 70, height=height))
