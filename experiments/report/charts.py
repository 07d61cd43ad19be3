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

from fairlead.experiments.charts.cost_quality import LOGGED, PlanePoint, cost_quality_chart
from fairlead.experiments.charts.theme import BLUE, FAINT, INK, VERMILION, apply_theme
from fairlead.experiments.files import printable
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.replay.partial_results import WEIGHT_EDGES
from fairlead.experiments.replay.result import ALL, Cell, Replay, TargetResult, bucket_middle_s

_LONGEST: Final = 26
_NARROW: Final = 500  # pixels of a chart below which labels turn and legends have one column
FEWEST: Final = 30
"""Decisions from which a cell of the map is coloured: the mean of fewer is luck."""

_GREY: Final = "#E4E4E4"
_Row = dict[str, Any]


def short(name: str, longest: int = _LONGEST) -> str:
    """Cut a name to the room that a chart has: its end tells models apart."""
    name = printable(name)
    return name if len(name) <= longest else "…" + name[1 - longest :]


def plane(result: Replay, width: int) -> alt.LayerChart:
    """Quality against cost: logging policy, targets with intervals, providers and their best mix."""
    primary = result.settings.primary
    logged = (result.incumbent["reward"], result.incumbent["cost_usd"])
    lines = {LOGGED: _points(*logged)}
    for target in result.targets:
        # A target with several goals has a line through its points.
        is_line = sum(other.spec.name == target.spec.name for other in result.targets) > 1
        name = short(target.spec.name if is_line else target.label)
        point = _points(target.estimates["reward"][primary], target.estimates["cost_usd"][primary])
        lines[name] = [*lines.get(name, []), *point]
    providers = [
        PlanePoint(
            name=short(cell.provider.rpartition("/")[2], 18), cost_usd=cell.cost_usd, quality=cell.quality
        )
        for cell in result.cells
        if cell.task == ALL and cell.cost_usd > 0.0
    ]
    return cost_quality_chart(providers=providers, lines=lines, fixed_mix=result.hull, size=(width - 90, 340))


def _points(quality: Estimate, cost: Estimate) -> list[PlanePoint]:
    """Return the point of a policy, if a logarithmic axis has it."""
    if not (cost.value > 0.0 and math.isfinite(quality.value)):
        return []
    errors = [half if math.isfinite(half) else 0.0 for half in (cost.half_width, quality.half_width)]
    return [
        PlanePoint(cost_usd=cost.value, quality=quality.value, cost_error=errors[0], quality_error=errors[1])
    ]


def forest(
    rows: Sequence[tuple[str, Estimate]], width: int, *, title: str, zero: bool, bold: str = ""
) -> alt.LayerChart:
    """Values with intervals, one line each, in the order of the rows."""
    data = [
        {"name": short(name), **_drawn_ends(estimate), "strong": name == bold}
        for name, estimate in rows
        if math.isfinite(estimate.value)
    ]
    order = [row["name"] for row in data]
    x = alt.X("value:Q", title=title, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickCount=5))
    y = alt.Y("name:N", title=None, sort=order, axis=alt.Axis(labelLimit=170, labelFontSize=12))
    colour = alt.condition("datum.strong", alt.value(VERMILION), alt.value(BLUE))
    layers: list[alt.Chart] = []
    if zero:
        layers.append(_data([{"value": 0.0}]).mark_rule(color=FAINT, strokeDash=[4, 4]).encode(x=x))
    bars = _data(data).mark_rule(strokeWidth=2)
    layers.append(bars.encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour))
    layers.append(_data(data).mark_point(size=70, filled=True, opacity=1.0).encode(x=x, y=y, color=colour))
    return _compose(layers, width - 150, 24 * max(len(data), 1) + 10)


def watched_gain(result: Replay, target: TargetResult, width: int, *, title: str) -> alt.LayerChart:
    """Draw the gain as it was known at the end of each span, with the sequence around it."""
    rows = [
        {
            "when": datetime.fromtimestamp(bucket_middle_s(result, span.bucket + 0.5), UTC).isoformat(),
            **_ends(span.gain),
        }
        for span in target.watched_gain
        if math.isfinite(span.gain.half_width) and math.isfinite(span.gain.value)
    ]
    x = alt.X("when:T", title="Decisions until (UTC)", axis=alt.Axis(tickCount=5, labelOverlap=True))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=True))
    nothing = _data([{"value": result.settings.margin}]).mark_rule(color=FAINT, strokeDash=[4, 4])
    band = _data(rows).mark_area(opacity=0.15, color=BLUE).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
    line = _data(rows).mark_line(strokeWidth=2, color=BLUE).encode(x=x, y=y)
    return _compose([nothing.encode(y=y), band, line], width, 240)


def weights(target: TargetResult, width: int) -> alt.LayerChart:
    """How many decisions have which importance weight."""
    edges = WEIGHT_EDGES.tolist()
    rows: list[_Row] = []
    for i, count in enumerate(target.histogram):
        name = "0" if i == 0 else f"< {edges[2]:.2g}" if i == 1 else f"{edges[i]:.2g}"
        rows.append({"weight": name, "decisions": count})
    used = [i for i, count in enumerate(target.histogram) if count]
    shown = rows[min(used) : max(used) + 1] if used else rows
    x = alt.X(
        "weight:N",
        title="Importance weight, from",
        sort=[row["weight"] for row in shown],
        axis=alt.Axis(labelAngle=-60),
    )
    y = alt.Y("decisions:Q", title="Decisions", axis=alt.Axis(format="~s", tickCount=5))
    return _compose([_data(shown).mark_bar(color=BLUE).encode(x=x, y=y)], width, 220)


def over_time(result: Replay, target: TargetResult, width: int) -> alt.LayerChart:
    """Quality of both policies in equal spans of the log, with the target's band."""
    rows = []
    for span in target.over_time:
        when = datetime.fromtimestamp(bucket_middle_s(result, int(span.value)), UTC).isoformat()
        rows.append({"when": when, "policy": LOGGED, **_ends(span.incumbent)})
        if math.isfinite(span.target.value):
            rows.append({"when": when, "policy": short(target.label), **_ends(span.target)})
    # No quality lies outside [0, 1]; the table has the ends as computed.
    banded = [
        row | {"low": max(row["low"], 0.0), "high": min(row["high"], 1.0)}
        for row in rows
        if math.isfinite(row["high"] - row["low"])
    ]
    rows = [{name: row[name] for name in ("when", "policy", "value")} for row in rows]
    labels = [LOGGED, short(target.label)]
    legend = alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1.0)
    colour = alt.Color(
        "policy:N", title=None, scale=alt.Scale(domain=labels, range=[INK, BLUE]), legend=legend
    )
    dashes = alt.Scale(domain=labels, range=[[5, 3], [1, 0]])
    dash = alt.StrokeDash("policy:N", title=None, legend=None, scale=dashes)
    x = alt.X("when:T", title="Time of the decisions (UTC)", axis=alt.Axis(tickCount=5, labelOverlap=True))
    y = alt.Y("value:Q", title="Mean quality", scale=alt.Scale(zero=False))
    band = _data(banded).mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    line = _data(rows).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
    return _compose([band, line], width, 240)


def win_map(cells: Sequence[Cell], width: int, *, tasks: int = 15) -> alt.LayerChart:
    """Quality by task and provider, for the commonest tasks; the best provider of each is framed."""
    narrow = width < _NARROW
    longest = 16 if narrow else 24
    shown = _commonest_tasks(cells, tasks)
    rows = _map_rows(cells, shown, longest=longest)
    providers = list(dict.fromkeys(row["provider"] for row in rows))
    columns = alt.Axis(labelAngle=-60 if narrow else -35, orient="top", labelLimit=120)
    x = alt.X("provider:N", title=None, sort=providers, axis=columns)
    order = [short(task, longest) for task in shown]
    y = alt.Y("task:N", title=None, sort=order, axis=alt.Axis(labelLimit=150))
    viridis = alt.Scale(scheme="viridis", domain=[0, 1])
    scale = alt.Color("quality:Q", title="Quality", scale=viridis, legend=None)
    colour = alt.condition("datum.evident", scale, alt.value(_GREY))
    frame = _data([row for row in rows if row["best"]]).mark_rect(fill=None, stroke=VERMILION, strokeWidth=3)
    layers = [_data(rows).mark_rect().encode(x=x, y=y, color=colour), frame.encode(x=x, y=y)]
    if len(providers) <= (7 if narrow else 16):
        dark = "datum.quality > 0.55 || !datum.evident"
        ink = alt.condition(dark, alt.value("#000000"), alt.value("#ffffff"))
        text = _data(rows).mark_text(fontSize=10 if narrow else 12).encode(x=x, y=y, text="text:N", color=ink)
        layers.append(text)
    return _compose(layers, width - 110, 28 * len(shown))


def _commonest_tasks(cells: Sequence[Cell], count: int) -> list[str]:
    sizes: dict[str, int] = {}
    for cell in cells:
        sizes[cell.task] = sizes.get(cell.task, 0) + cell.n
    commonest = sorted((task for task in sizes if task != ALL), key=lambda task: -sizes[task])
    return [*commonest[:count], ALL]


def _map_rows(cells: Sequence[Cell], tasks: Sequence[str], *, longest: int) -> list[_Row]:
    evident = [cell for cell in cells if cell.n >= FEWEST]
    best = {
        task: max(
            (cell for cell in evident if cell.task == task), key=lambda cell: cell.quality, default=None
        )
        for task in tasks
    }
    return [
        {
            "task": short(cell.task, longest),
            "provider": short(cell.provider.rpartition("/")[2], 16),
            "quality": cell.quality,
            "text": f"{cell.quality:.2f}" if cell.n >= FEWEST else f"n {cell.n}",
            "evident": cell.n >= FEWEST,
            "best": best[cell.task] is cell,
        }
        for cell in cells
        if cell.task in tasks
    ]


def _data(rows: Sequence[_Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def _drawn_ends(estimate: Estimate) -> _Row:
    """Return the ends, or the value alone where there is no interval."""
    if math.isfinite(estimate.half_width):
        return _ends(estimate)
    return {"value": estimate.value, "low": estimate.value, "high": estimate.value}


def _ends(estimate: Estimate) -> _Row:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _compose(layers: Sequence[alt.Chart], width: int, height: int) -> alt.LayerChart:
    return apply_theme(alt.LayerChart(layer=list(layers)).properties(width=width - 70, height=height))
