"""The cost–quality plane as a chart: providers, their best fixed mix, policies, and what bounds them.

Dashes and shapes repeat what colours say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import numpy as np

from fairlead.experiments.baselines.frontier import Hull
from fairlead.experiments.charts.labels import SIZE, Plot, Point, points_along
from fairlead.experiments.charts.theme import BLUE, COLOURS, FAINT, FONT, GREEN, INK, VERMILION, apply_theme
from fairlead.experiments.files import printable

LOGGED: Final = "as logged"
_MIX, _ORACLE = "Best fixed mix", "Oracle"
_STYLES: Final = {  # colour, dash, and shape of the points
    "Router": (VERMILION, [1, 0], "circle"),
    "Supervised reference": (GREEN, [6, 3], "square"),
    LOGGED: (INK, [1, 0], "circle"),
    _MIX: (BLUE, [1, 0], "stroke"),
    _ORACLE: ("#8A8A8A", [2, 3], "stroke"),
}
_SHAPES: Final = ("square", "triangle-up", "triangle-down", "triangle-right", "triangle-left", "circle")
_NARROW: Final = 500  # pixels of a plot below which the legend has one column
_PER: Final = 1000.0  # requests on the cost axis: a single one costs too little to read
_Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PlanePoint:
    """A point in the plane: mean USD per request and mean quality, each with the half-width of its error bar.

    A half-width of 0 draws no bar. `name` labels a provider in the plot and in its tooltip.

    >>> PlanePoint(name="acme/small", cost_usd=3e-4, quality=0.72).cost_error
    0.0
    """

    cost_usd: float
    quality: float
    name: str = ""
    cost_error: float = 0.0
    quality_error: float = 0.0


def cost_quality_chart(
    *,
    providers: Sequence[PlanePoint],
    lines: Mapping[str, Sequence[PlanePoint]],
    fixed_mix: Hull | None,
    oracle: Hull | None = None,
    title: str = "",
    subtitle: str = "",
    size: tuple[int, int] = (680, 400),
) -> alt.LayerChart:
    """Draw mean quality against mean cost on a logarithmic axis, `size` pixels wide and high.

    `lines` holds the points of every policy by its name in the legend, such as one per budget, joined by a
    line; `oracle` and `fixed_mix` are whole frontiers. Providers are labelled in the plot.
    """
    points = [*providers, *itertools.chain.from_iterable(lines.values())]
    if not points:
        raise ValueError("there is no point to draw: give at least one.")
    for point in points:
        if not (0.0 < point.cost_usd < math.inf and math.isfinite(point.quality)):
            raise ValueError(f"{point} cannot be drawn on a logarithmic cost axis: leave it out.")
    plane = _Plane.around(points, (fixed_mix, oracle), size)
    rows = {name: [plane.row(point) for point in line] for name, line in lines.items()}
    rows |= {name: plane.frontier(hull) for name, hull in ((_MIX, fixed_mix), (_ORACLE, oracle)) if hull}
    series = [{**row, "series": name} for name, line in rows.items() for row in line]
    layers = _line_layers(series, plane, [name for name, line in rows.items() if line])
    layers += _provider_layers([plane.row(point) for point in providers], series, plane)
    chart = alt.LayerChart(layer=layers).properties(width=plane.width, height=plane.height)
    if title:
        chart = chart.properties(title=alt.TitleParams(title, subtitle=subtitle))
    return apply_theme(chart)


@dataclass(frozen=True)
class _Plane:
    """The visible part: USD per 1,000 requests from `left` to `right`, quality from `low` to `high`."""

    left: float
    right: float
    low: float
    high: float
    width: int
    height: int

    @classmethod
    def around(
        cls, points: Sequence[PlanePoint], hulls: Sequence[Hull | None], size: tuple[int, int]
    ) -> _Plane:
        costs = [_PER * p.cost_usd for p in points]
        margin = (max(costs) / min(costs)) ** 0.06 * 1.1
        left, right = min(costs) / margin, max(costs) * margin
        qualities = [p.quality + sign * p.quality_error for p in points for sign in (-1, 1)]
        qualities += [q for hull in hulls if hull for q in hull.quality_at(np.array([left, right]) / _PER)]
        low, high = min(qualities), max(qualities)
        border = 0.06 * (high - low) or 0.05
        return cls(left, right, low - border, high + border, *size)

    def x(self, field: str = "cost") -> alt.X:
        decades = math.log10(self.right / self.left)
        steps = (1, 1.5, 2, 3, 4, 5, 7) if decades < 1.2 else (1, 2, 5) if decades < 2.5 else (1, 3)
        exponents = range(math.floor(math.log10(self.left)), math.ceil(math.log10(self.right)) + 1)
        ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
        axis = alt.Axis(values=[tick for tick in ticks if self.left <= tick <= self.right], format="$~g")
        scale = alt.Scale(type="log", domain=[self.left, self.right], nice=False)
        title = "Mean cost, USD per 1,000 requests (log scale)"
        return alt.X(f"{field}:Q", title=title, axis=axis, scale=scale)

    def y(self, field: str = "quality") -> alt.Y:
        axis = alt.Axis(format=".2f" if self.high - self.low > 0.05 else ".3f", tickCount=6)
        scale = alt.Scale(domain=[self.low, self.high], nice=False, zero=False)
        return alt.Y(f"{field}:Q", title="Mean quality, 0 to 1", axis=axis, scale=scale)

    def row(self, point: PlanePoint) -> _Row:
        """Return a point as data, with the ends of its error bars, as far as they are visible."""
        cost, spread = _PER * point.cost_usd, _PER * point.cost_error
        return {
            "cost": cost,
            "quality": point.quality,
            "name": printable(point.name),
            "cost_from": max(cost - spread, self.left),
            "cost_to": min(cost + spread, self.right),
            "quality_from": point.quality - point.quality_error,
            "quality_to": point.quality + point.quality_error,
        }

    def frontier(self, hull: Hull) -> list[_Row]:
        """Points along a hull, close enough for the curve that a mixture is on a logarithmic axis."""
        start = max(self.left, _PER * float(hull.cost_usd[0]))
        costs = np.geomspace(start, self.right, 240) if start < self.right else np.array([])
        corners = _PER * hull.cost_usd if len(hull.cost_usd) < 100 else np.array([])
        costs = np.unique([*costs, *corners[(corners > start) & (corners < self.right)]])
        qualities = hull.quality_at(costs / _PER)
        return [{"cost": c, "quality": q} for c, q in zip(costs.tolist(), qualities.tolist(), strict=True)]

    def pixel(self, row: _Row) -> Point:
        """Pixels from the left and from the top of the plot."""
        across = math.log(row["cost"] / self.left) / math.log(self.right / self.left)
        return self.width * across, self.height * (self.high - row["quality"]) / (self.high - self.low)

    def row_at(self, pixel: Point) -> _Row:
        """Return the inverse of `pixel`."""
        x, y = pixel
        cost = self.left * (self.right / self.left) ** (x / self.width)
        return {"cost": cost, "quality": self.high - y / self.height * (self.high - self.low)}


def _line_layers(series: list[_Row], plane: _Plane, shown: list[str]) -> list[alt.Chart]:
    """Draw the lines, and for those through measured points their bands, error bars and marks."""
    others = zip(itertools.cycle(COLOURS), itertools.repeat([1, 0]), itertools.cycle(_SHAPES))
    styles = [_STYLES.get(name) or next(others) for name in shown]
    columns = 1 if plane.width < _NARROW else min(len(shown), 4)
    # A legend takes the opacity of the first marks, which are bands.
    legend = alt.Legend(
        title=None, columns=columns, labelLimit=plane.width, symbolSize=140, symbolOpacity=1.0
    )
    colours, dashes, shapes = (
        alt.Scale(domain=shown, range=[style[i] for style in styles]) for i in range(3)
    )
    colour = alt.Color("series:N", scale=colours, legend=legend)
    dash = alt.StrokeDash("series:N", scale=dashes, legend=legend)
    shape = alt.Shape("series:N", scale=shapes, legend=legend)
    lines = alt.Chart(alt.InlineData(values=list(reversed(series)))).mark_line(strokeWidth=2)
    measured = alt.Chart(alt.InlineData(values=[row for row in series if "name" in row]))
    bars = measured.mark_rule(strokeWidth=1.2)
    ends = {"y": plane.y("quality_from"), "y2": "quality_to:Q"}
    dots = measured.mark_point(filled=True, size=60, opacity=1.0)
    tooltip = _tooltip("series:N", "line")
    return [
        lines.encode(x=plane.x(), y=plane.y(), color=colour, strokeDash=dash, order="cost:Q"),
        measured.mark_area(opacity=0.12).encode(x=plane.x(), **ends, color=colour),
        bars.encode(x=plane.x(), **ends, color=colour),
        bars.encode(x=plane.x("cost_from"), x2="cost_to:Q", y=plane.y(), color=colour),
        dots.encode(x=plane.x(), y=plane.y(), color=colour, shape=shape, tooltip=tooltip),
    ]


def _provider_layers(providers: list[_Row], series: list[_Row], plane: _Plane) -> list[alt.Chart]:
    """Draw the providers as hollow points, their names and leaders to distant names."""
    names, leaders = _label_rows(providers, series, plane)
    pointers = alt.Chart(alt.InlineData(values=leaders)).mark_rule(color=FAINT, strokeWidth=0.8, aria=False)
    text = alt.Chart(alt.InlineData(values=names)).encode(x=plane.x(), y=plane.y(), text="name:N")
    # A screen reader gets the points: the position of a name means nothing.
    style: dict[str, Any] = {"align": alt.ExprRef("datum.side"), "baseline": "middle", "aria": False}
    style |= {"fontSize": SIZE, "font": FONT}
    dots = alt.Chart(alt.InlineData(values=providers)).mark_point(
        shape="diamond", size=75, color=INK, fill="white", strokeWidth=1.6, opacity=1.0
    )
    return [
        pointers.encode(x=plane.x(), y=plane.y(), x2="cost_to:Q", y2="quality_to:Q"),
        text.mark_text(**style, stroke="white", strokeWidth=3.5, strokeJoin="round"),
        text.mark_text(**style, color=INK),
        dots.encode(x=plane.x(), y=plane.y(), tooltip=_tooltip("name:N", "provider")),
    ]


def _tooltip(field: str, title: str) -> list[alt.Tooltip]:
    cost = alt.Tooltip("cost:Q", title="USD per 1,000 requests", format=".4~g")
    return [alt.Tooltip(field, title=title), cost, alt.Tooltip("quality:Q", title="quality", format=".4f")]


def _label_rows(providers: list[_Row], series: list[_Row], plane: _Plane) -> tuple[list[_Row], list[_Row]]:
    """Place the names and their leaders so that they cover least."""
    points = [plane.pixel(row) for row in providers]
    measured = [plane.pixel(row) for row in series if "name" in row]
    strokes: list[Point] = []
    for _, line in itertools.groupby(series, key=lambda row: row["series"]):
        corners = [plane.pixel(row) for row in line]
        strokes += [*points_along(corners), corners[-1]]
    plot = Plot(plane.width, plane.height, marks=points + measured, strokes=strokes)
    names, leaders = [], []
    for row, point in sorted(zip(providers, points, strict=True), key=lambda pair: pair[1]):
        label = plot.label(row["name"], point)
        names.append({**plane.row_at(label.at), "name": label.name, "side": label.side})
        if label.leader is not None:
            end = plane.row_at(label.leader)
            leaders.append({**row, "cost_to": end["cost"], "quality_to": end["quality"]})
    return names, leaders
