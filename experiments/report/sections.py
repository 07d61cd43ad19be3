"""The sections of the page below the first screen: each a chart, what it says, and its table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import Final

import altair as alt
import vl_convert as vlc

from fairlead.experiments.replay.partial_results import WEIGHT_EDGES
from fairlead.experiments.replay.rejection import REJECTION
from fairlead.experiments.replay.result import ALL, Replay, TargetResult, bucket_middle_s
from fairlead.experiments.report import charts
from fairlead.experiments.report.definitions import DEFINITIONS
from fairlead.experiments.report.tables import ends, folded, number, table

_WIDE, _NARROW = 900, 360
_PER: Final = 1000.0


def chart_html(draw: Callable[[int], alt.LayerChart], description: str) -> str:
    """A chart for wide and one for narrow screens, as pictures that need no script."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    parts = []
    for name, width in (("wide", _WIDE), ("narrow", _NARROW)):
        svg = vlc.vegalite_to_svg(draw(width).to_dict(), vl_version=version)
        parts.append(
            f"<div class='chart {name}' role=img aria-label='{escape(description, quote=True)}'>{svg}</div>"
        )
    return "".join(parts)


def plane(result: Replay) -> str:
    primary = result.settings.primary
    rows = [
        ["as logged", *ends(result.incumbent["reward"]), *ends(result.incumbent["cost_usd"], scale=_PER), "–"]
    ]
    for one in result.targets:
        lift = "–" if one.mix is None else number(one.mix.lift.value, sign=True)
        quality, cost = one.estimates["reward"][primary], one.estimates["cost_usd"][primary]
        rows.append([one.label, *ends(quality), *ends(cost, scale=_PER), lift])
    for cell in result.cells:
        if cell.task == ALL:
            rows.append(
                [
                    f"always {cell.provider}",
                    number(cell.quality),
                    "",
                    "",
                    number(_PER * cell.cost_usd),
                    "",
                    "",
                    "",
                ]
            )
    heads = ["policy", "quality", "low", "high", "USD per 1,000", "low", "high", "lift"]
    chart = chart_html(lambda width: charts.plane(result, width), "Quality against cost of all policies")
    return (
        "<h2>Quality against cost</h2><p>Up and to the left is better. Diamonds are always one provider, "
        "the dashed "
        "line their best mix; what lies above it is what routing adds. Bars and bands are "
        f"{result.settings.level:.0%} intervals.</p>{chart}{folded('Table', table(heads, rows))}"
    )


def estimators(result: Replay, one: TargetResult) -> str:
    primary = result.settings.primary
    rows = list(one.estimates["reward"].items())
    chart = chart_html(
        lambda width: charts.forest(rows, width, title="Quality, 0 to 1", zero=False, bold=primary),
        "Quality by every estimator with intervals",
    )
    aside = (
        f" But for <i>{REJECTION}</i>: there the policy learns from fewer decisions, its own."
        if REJECTION in dict(rows)
        else ""
    )
    heads = ["estimator", "value", "low", "high", "standard error"]
    tables = "".join(
        f"<h3>{escape(each.label)}</h3>"
        + table(
            heads,
            [[n, *ends(e), number(e.standard_error)] for n, e in each.estimates["reward"].items()],
            strong=primary,
        )
        for each in result.targets
    )
    intervals = table(
        ["interval of the gain", "value", "low", "high"],
        [[name, *ends(e, sign=True)] for name, e in one.intervals.items()],
    )
    return (
        f"<h2>Do the estimators agree?</h2><p>Quality of {escape(one.label)} by every estimator; "
        f"{escape(primary)} "
        f"decides. Estimators that differ by more than their intervals are a warning.{aside}</p>{chart}"
        f"{folded('Table, all policies', tables)}{folded('Four kinds of interval', intervals)}"
    )


def slices(result: Replay, one: TargetResult) -> str:
    if not one.slices:
        return ""
    rows = [(f"{part.by}={part.value}", part.gain) for part in one.slices]
    chart = chart_html(
        lambda width: charts.forest(rows, width, title="Gain in quality", zero=True),
        "Gain in quality by slice",
    )
    heads = [
        "slice",
        "policy",
        "decisions",
        "as logged",
        "target",
        "low",
        "high",
        "gain",
        "low",
        "high",
        "ESS",
    ]
    body = [
        [
            f"{part.by}={part.value}",
            each.label,
            f"{part.n:,}",
            number(part.incumbent.value),
            *ends(part.target),
            *ends(part.gain, sign=True),
            f"{part.effective_size:,.0f}",
        ]
        for each in result.targets
        for part in each.slices
    ]
    return (
        f"<h2>Where does it gain?</h2><p>Gain of {escape(one.label)} in quality, slice by slice. With "
        "many slices some "
        f"intervals miss 0 by chance.</p>{chart}{folded('Table, all policies', table(heads, body))}"
    )


def weights(result: Replay, one: TargetResult) -> str:
    chart = chart_html(lambda width: charts.weights(one, width), "Histogram of importance weights")
    edges = WEIGHT_EDGES.tolist()
    rows = [[f"{edges[i]:.3g}", f"{count:,}"] for i, count in enumerate(one.histogram) if count]
    sizes = table(
        ["policy", "decisions", "ESS"],
        [[e.label, f"{e.n:,}", f"{e.effective_size:,.0f}"] for e in result.targets],
    )
    return (
        f"<h2>How much does the log say?</h2><p>Weights of {escape(one.label)}: a decision of weight 5 "
        "stands for five. "
        f"The log is worth {one.effective_size:,.0f} of the policy's own decisions.</p>{chart}"
        f"{folded('Table', table(['weight from', 'decisions'], rows) + sizes)}"
    )


def time(result: Replay, one: TargetResult) -> str:
    chart = chart_html(
        lambda width: charts.over_time(result, one, width), "Quality over time of both policies"
    )
    rows = [
        [
            _minute(bucket_middle_s(result, int(part.value))),
            f"{part.n:,}",
            number(part.incumbent.value),
            *ends(part.target),
        ]
        for part in one.over_time
    ]
    heads = ["middle of the span (UTC)", "decisions", "as logged", "target", "low", "high"]
    return (
        "<h2>Quality over time</h2><p>The same spans for both; a target that learns starts from nothing "
        "at the left."
        f"</p>{chart}{folded('Table', table(heads, rows))}"
    )


def win_map(result: Replay) -> str:
    chart = chart_html(lambda width: charts.win_map(result.cells, width), "Quality by task and provider")
    rows = [
        [
            cell.task,
            cell.provider,
            f"{cell.n:,}",
            number(cell.quality, 3),
            number(cell.quality_se, 3),
            number(_PER * cell.cost_usd, 3),
        ]
        for cell in result.cells
    ]
    heads = ["task", "provider", "decisions", "quality", "s.e. at most", "USD per 1,000"]
    return (
        "<h2>Who wins where?</h2><p>Quality of always one provider, by task (SNIPS); the best of each "
        "row is framed. "
        f"Cheap providers stand on the left.</p>{chart}{folded('Table', table(heads, rows))}"
    )


def diagnostics(result: Replay) -> str:
    top = result.headline
    first, *rest = [_findings(one) for one in (top, *(o for o in result.targets if o is not top))]
    return (
        "<h2>Can the log be trusted?</h2><p>A check that fails names no winner, whatever the intervals "
        "say.</p>" + first + (folded("The other policies", "".join(rest)) if rest else "")
    )


def _findings(one: TargetResult) -> str:
    """A list and not a table: on a phone the sentences of a table would be an inch wide."""
    entries = "".join(
        f"<li><b class={'passes' if f.passed else 'fails'}>{'passed' if f.passed else 'FAILS'}</b> "
        f"<b>{escape(f.name)}</b>: {f.measured:.3g} (limit {f.limit:.3g}). "
        f"{escape(f.text)}</li>"
        for f in one.findings
    )
    return f"<h3>{escape(one.label)}</h3><ul class=others>{entries}</ul>"


def how(result: Replay) -> str:
    settings = result.settings
    rows = [
        ["estimator that decides", settings.primary],
        ["confidence", f"{settings.level:.0%}"],
        [
            "willingness to pay, USD per point",
            "none" if settings.wtp_usd is None else f"{settings.wtp_usd:g}",
        ],
        ["smallest gain worth a change", f"{settings.margin:g}"],
        ["reward model", settings.model],
        ["bootstrap resamples", f"{settings.resamples:,}"],
        ["seed", str(settings.seed)],
    ]
    return f"<h2>How it was computed</h2>{table(['setting', 'value'], rows)}"


def definitions() -> str:
    entries = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in DEFINITIONS)
    return f"<h2>What every number means</h2><dl>{entries}</dl>"


def _minute(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
