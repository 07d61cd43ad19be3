"""The cost–quality plane as a chart: providers, the best fixed mix, the router, and what bounds it.

Charts are drawn and saved without a network. Colours are those of Okabe and Ito (2008), which people with any
common colour blindness tell apart; the dashes of the lines repeat what they say.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert as vlc

from fairlead.experiments.baselines.frontier import Hull
from fairlead.optimizer.persistence.atomic_file import write_atomically

_WIDTH, _HEIGHT = 680, 400  # pixels of the plot
_FONT = "Helvetica Neue, Arial, Liberation Sans, DejaVu Sans, sans-serif"
INK, FAINT = "#222222", "#6B6B6B"
_LABEL_SIZE = 11
_LETTER, _LINE = 0.55 * _LABEL_SIZE, 1.2 * _LABEL_SIZE  # mean width and height of a letter in pixels
_SERIES = {  # name in the legend: colour, dash
    "Router": ("#D55E00", [1, 0]),
    "Supervised reference": ("#009E73", [6, 3]),
    "Best fixed mix": ("#0072B2", [1, 0]),
    "Oracle": ("#8A8A8A", [2, 3]),
}
_PER = 1000.0  # requests that the cost axis speaks of: a single one costs too little to read
_Row = dict[str, Any]
_Dot = tuple[float, float]  # pixels from the left and from the top of the plot
_Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True, kw_only=True)
class PlanePoint:
    """A point in the plane: mean USD per request and mean quality, each with the half-width of its error bar.

    A half-width of 0 draws no bar. `name` labels a provider in the plot and in its tooltip.
    """

    cost_usd: float
    quality: float
    name: str = ""
    cost_error: float = 0.0
    quality_error: float = 0.0


def cost_quality_chart(
    *,
    providers: Sequence[PlanePoint],
    fixed_mix: Hull,
    router: Sequence[PlanePoint] = (),
    supervised: Sequence[PlanePoint] = (),
    oracle: Hull | None = None,
    title: str = "Quality against cost",
    subtitle: str = "",
) -> alt.LayerChart:
    """Draw mean quality against mean cost on a logarithmic axis.

    `router` and `supervised` hold a point per budget, `oracle` and `fixed_mix` are whole frontiers; each line
    appears only if given. Providers are labelled in the plot, the lines in the legend.
    """
    points = [*providers, *router, *supervised]
    if not providers:
        raise ValueError("there are no providers to draw: give at least one.")
    for point in points:
        if not (0.0 < point.cost_usd < math.inf and math.isfinite(point.quality)):
            raise ValueError(f"{point} has no place on a chart with a logarithmic cost axis: leave it out.")
    plane = _Plane.around(points, oracle)
    lines = {
        "Router": [_row(point) for point in router],
        "Supervised reference": [_row(point) for point in supervised],
        "Best fixed mix": plane.frontier(fixed_mix),
        "Oracle": plane.frontier(oracle) if oracle else [],
    }
    series = [{**row, "series": name} for name, line in lines.items() for row in line]
    layers = _line_layers(series, plane, [name for name in _SERIES if lines[name]])
    layers += _provider_layers([_row(point) for point in providers], series, plane)
    heading = alt.TitleParams(title, subtitle=subtitle) if subtitle else alt.TitleParams(title)
    return themed(alt.LayerChart(layer=layers).properties(width=_WIDTH, height=_HEIGHT, title=heading))


@dataclass(frozen=True)
class _Plane:
    """The part that is drawn: USD per 1,000 requests `left` to `right`, quality `low` to `high`."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def around(cls, points: Sequence[PlanePoint], oracle: Hull | None) -> "_Plane":
        costs = [_PER * p.cost_usd for p in points]
        qualities = [p.quality + sign * p.quality_error for p in points for sign in (-1, 1)]
        if oracle:
            qualities.append(float(oracle.quality[-1]))
        margin = (max(costs) / min(costs)) ** 0.06 * 1.1
        low, high = min(qualities), max(qualities)
        border = 0.06 * (high - low) or 0.05
        return cls(min(costs) / margin, max(costs) * margin, low - border, high + border)

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

    def frontier(self, hull: Hull) -> list[_Row]:
        """Points along a hull, close enough for the curve that a mixture is on a logarithmic axis."""
        start = max(self.left, _PER * float(hull.cost_usd[0]))
        costs = np.geomspace(start, self.right, 240) if start < self.right else np.array([])
        corners = _PER * hull.cost_usd if len(hull.cost_usd) < 100 else np.array([])
        costs = np.unique([*costs, *corners[(corners > start) & (corners < self.right)]])
        qualities = hull.quality_at(costs / _PER)
        return [{"cost": c, "quality": q} for c, q in zip(costs.tolist(), qualities.tolist(), strict=True)]

    def pixel(self, row: _Row) -> _Dot:
        across = math.log(row["cost"] / self.left) / math.log(self.right / self.left)
        return _WIDTH * across, _HEIGHT * (self.high - row["quality"]) / (self.high - self.low)

    def place(self, x: float, y: float) -> _Row:
        """The inverse of `pixel`."""
        cost = self.left * (self.right / self.left) ** (x / _WIDTH)
        return {"cost": cost, "quality": self.high - y / _HEIGHT * (self.high - self.low)}


def _row(point: PlanePoint) -> _Row:
    cost, spread = _PER * point.cost_usd, _PER * point.cost_error
    return {
        "cost": cost,
        "quality": point.quality,
        "name": point.name,
        "cost_from": max(cost - spread, cost / 1e3),
        "cost_to": cost + spread,
        "quality_from": point.quality - point.quality_error,
        "quality_to": point.quality + point.quality_error,
    }


def _line_layers(series: list[_Row], plane: _Plane, shown: list[str]) -> list[alt.Chart]:
    """The lines, and for lines through measured points their marks and error bars."""
    domain = alt.Scale(domain=shown, range=[_SERIES[name][0] for name in shown])
    dashes = alt.Scale(domain=shown, range=[_SERIES[name][1] for name in shown])
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=2.5)
    colour = alt.Color("series:N", scale=domain, legend=legend)
    dash = alt.StrokeDash("series:N", scale=dashes, legend=legend)
    lines = alt.Chart(alt.InlineData(values=list(reversed(series)))).mark_line(strokeWidth=2, clip=True)
    layers = [lines.encode(x=plane.x(), y=plane.y(), color=colour, strokeDash=dash, order="cost:Q")]
    measured = alt.Chart(alt.InlineData(values=[row for row in series if "name" in row]))
    bars = measured.mark_rule(strokeWidth=1.2, clip=True)
    layers.append(bars.encode(x=plane.x(), y=plane.y("quality_from"), y2="quality_to:Q", color=colour))
    layers.append(bars.encode(x=plane.x("cost_from"), x2="cost_to:Q", y=plane.y(), color=colour))
    dots = measured.mark_circle(size=60, opacity=1.0, clip=True)
    layers.append(dots.encode(x=plane.x(), y=plane.y(), color=colour, tooltip=_tooltip("series:N", "line")))
    return layers


def _provider_layers(providers: list[_Row], series: list[_Row], plane: _Plane) -> list[alt.Chart]:
    """The providers as hollow points, their names where these cover least, and leaders to distant names."""
    names, leaders = _place_names(providers, series, plane)
    pointers = alt.Chart(alt.InlineData(values=leaders)).mark_rule(color=FAINT, strokeWidth=0.8, aria=False)
    text = alt.Chart(alt.InlineData(values=names)).encode(x=plane.x(), y=plane.y(), text="name:N")
    # A screen reader gets the points: a name's own place means nothing.
    style: dict[str, Any] = {"align": alt.ExprRef("datum.side"), "baseline": "middle", "aria": False}
    style |= {"fontSize": _LABEL_SIZE, "font": _FONT}
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


def _place_names(providers: list[_Row], series: list[_Row], plane: _Plane) -> tuple[list[_Row], list[_Row]]:
    """Put each name where its box, in pixels, covers the fewest points, lines and names; nearest first."""
    dots = [plane.pixel(row) for row in providers]
    marks = dots + [plane.pixel(row) for row in series if "name" in row]
    strokes = _along([(row["series"], *plane.pixel(row)) for row in series])
    boxes: list[_Box] = []
    names, leaders = [], []
    for row, dot in sorted(zip(providers, dots, strict=True), key=lambda pair: pair[1]):
        best = min(_candidates(dot, row["name"]), key=lambda c: _clutter(c, dot, boxes, marks, strokes))
        boxes.append(best)
        side, edge = ("right", best[2]) if best[2] < dot[0] else ("left", best[0])
        names.append({**plane.place(edge, (best[1] + best[3]) / 2), "name": row["name"], "side": side})
        end = _nearest(best, dot)
        if math.dist(dot, end) > 16.0:
            target = plane.place(*end)
            leaders.append({**row, "cost_to": target["cost"], "quality_to": target["quality"]})
    return names, leaders


def _along(corners: list[tuple[str, float, float]]) -> list[_Dot]:
    """Pixels a letter's height apart or closer along the lines through consecutive corners of one series."""
    pixels = []
    for (series, x0, y0), (following, x1, y1) in itertools.pairwise(corners):
        count = math.ceil(math.dist((x0, y0), (x1, y1)) / _LABEL_SIZE) if series == following else 1
        pixels += [(x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count) for i in range(count)]
    return pixels


def _candidates(dot: _Dot, name: str) -> Iterable[_Box]:
    """Boxes for a name around its point, first beside it, then further off."""
    width = _LETTER * len(name)
    sides = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))
    for gap, (across, down) in itertools.product((9.0, 20.0, 34.0, 50.0), sides):
        reach = gap if across == 0 or down == 0 else 0.8 * gap
        left = dot[0] + across * (reach + width / 2) - width / 2
        top = dot[1] + down * (reach + _LINE / 2) - _LINE / 2
        yield left, top, left + width, top + _LINE


def _nearest(box: _Box, dot: _Dot) -> _Dot:
    left, top, right, bottom = box
    return min(max(dot[0], left), right), min(max(dot[1], top), bottom)


def _clutter(box: _Box, dot: _Dot, boxes: list[_Box], marks: list[_Dot], strokes: list[_Dot]) -> float:
    """How bad a place is: leaving the plot, hiding names, marks or lines, a leader over marks, distance."""
    left, top, right, bottom = box
    outside = left < 2 or top < 2 or right > _WIDTH + 8 or bottom > _HEIGHT - 2
    shared = sum(left < b[2] + 4 and b[0] < right + 4 and top < b[3] + 1 and b[1] < bottom + 1 for b in boxes)
    hidden = sum(left - 18 < x < right + 18 and top - 7 < y < bottom + 7 for x, y in marks if (x, y) != dot)
    crossed = sum(left - 2 < x < right + 2 and top - 1 < y < bottom + 1 for x, y in strokes)
    end = _nearest(box, dot)
    leader = [(dot[0] + t * (end[0] - dot[0]), dot[1] + t * (end[1] - dot[1])) for t in (0.3, 0.5, 0.7, 0.9)]
    struck = sum(math.dist(spot, mark) < 9.0 for spot in leader for mark in marks if mark != dot)
    weighed = 200.0 * outside + 100.0 * shared + 60.0 * hidden + 20.0 * struck + 8.0 * crossed
    return weighed + math.dist(dot, end)


def themed(chart: alt.LayerChart) -> alt.LayerChart:
    """The chart in the fonts and colours that all charts share."""
    axis: dict[str, Any] = {"labelFont": _FONT, "titleFont": _FONT, "labelColor": INK, "titleColor": INK}
    themed: alt.LayerChart = (
        chart.configure(background="white", padding=16)
        .configure_view(stroke=None)
        .configure_axis(
            **axis, labelFontSize=11, titleFontSize=12, titleFontWeight="normal", titlePadding=10,
            gridColor="#E8E8E8", domainColor="#9A9A9A", tickColor="#9A9A9A",
        )
        .configure_legend(orient="top", labelFont=_FONT, labelFontSize=12, labelColor=INK, symbolSize=320,
                          symbolStrokeWidth=2.5, columnPadding=18, offset=10)
        .configure_title(anchor="start", font=_FONT, fontSize=17, color=INK, subtitleFont=_FONT,
                         subtitleFontSize=12, subtitleColor=FAINT, subtitlePadding=6, offset=12)
    )  # fmt: skip
    return themed


def save_chart(chart: alt.LayerChart, path: str | Path) -> Path:
    """Write a chart as .png (two pixels to the point), .svg or one .html that needs no network.

    The file appears whole or not at all.
    """
    path = Path(path)
    spec = chart.to_dict()
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    if path.suffix == ".png":
        content = vlc.vegalite_to_png(spec, vl_version=version, scale=2.0)
    elif path.suffix == ".svg":
        content = vlc.vegalite_to_svg(spec, vl_version=version).encode()
    elif path.suffix == ".html":
        content = vlc.vegalite_to_html(spec, vl_version=version, bundle=True).encode()
    else:
        raise ValueError(f"{path}: a chart cannot be saved as {path.suffix!r}: use .png, .svg or .html.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} is not there: create it first.")
    write_atomically(path, content)
    return path
