"""The page: first what to do and why, then the charts, each with its table, then what every number means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Final

import altair as alt
import vl_convert as vlc

from experiments.ope.estimates import Estimate
from experiments.replay.result import ALL, Judged, Replay, bucket_middle_s
from experiments.report import charts
from experiments.report.tables import ends, figure, folded, number, table
from experiments.report.words import DEFINITIONS

_WIDE, _NARROW = 900, 360
_STYLE: Final = Path(__file__).with_name("style.css")
_CLASS: Final = {"promote": "promote", "keep": "keep", "not enough evidence": "unsure"}
_PER: Final = 1000.0


def report_html(result: Replay) -> str:
    """The whole report as one file that needs nothing else."""
    one = result.headline
    sections = [_first_screen(result, one)]
    if "cost_usd" in result.incumbent:
        sections.append(_plane(result))
    sections += [_estimators(result, one), _slices(result, one), _weights(result, one), _time(result, one)]
    sections += [_win_map(result), _diagnostics(result), _how(result), _definitions()]
    title = f"Replay of {Path(result.path).name}"
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def chart_html(draw: Callable[[int], alt.LayerChart], description: str) -> str:
    """A chart for wide and one for narrow screens, as pictures that need no script."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    parts = []
    for name, width in (("wide", _WIDE), ("narrow", _NARROW)):
        svg = vlc.vegalite_to_svg(draw(width).to_dict(), vl_version=version)
        parts.append(f"<div class='chart {name}' role=img aria-label='{escape(description, quote=True)}'>{svg}</div>")
    return "".join(parts)


def _first_screen(result: Replay, one: Judged) -> str:
    verdict = one.verdict
    word = {
        "promote": f"Promote {one.label}",
        "keep": "Keep what you have",
        "not enough evidence": "Not enough evidence yet",
    }[verdict.judgement]
    days = f"{_day(result.first_s)} to {_day(result.last_s)}"
    heading = f"{Path(result.path).name}: {result.n:,} decisions, {days}, {len(result.providers)} providers"
    others = "".join(
        f"<li><b>{escape(other.label)}</b>: {escape(other.verdict.sentence)}</li>"
        for other in result.judged
        if other is not one
    )
    notes = "".join(f"<p class=note>{escape(note)}</p>" for note in result.notes)
    return (
        f"<h1>{escape(heading)}</h1><div class='verdict {_CLASS[verdict.judgement]}'>"
        f"<div class=word>{escape(word)}</div><p>{escape(verdict.sentence)}</p></div>"
        f"<div class=figures>{''.join(_figures(result, one))}</div>"
        + (folded(f"The other {len(result.judged) - 1} policies", f"<ul class=others>{others}</ul>") if others else "")
        + notes
    )


def _figures(result: Replay, one: Judged) -> list[str]:
    primary, level = result.settings.primary, f"{result.settings.level:.0%}"
    quality = one.estimates["reward"][primary]
    found = []
    if one.quantity != "reward":
        gain, goal = one.gains[one.quantity], one.spec.goal.wtp_usd or result.settings.wtp_usd
        worth = "" if goal is None else f"quality less cost, at ${goal:g} a point, "
        found.append(figure("Gain", number(gain.value, 3, sign=True), f"{worth}{level} interval {_between(gain, 3)}"))
    found += [
        figure("Quality", number(quality.value, 3), f"{number(one.gains['reward'].value, 3, sign=True)} against now, "
               f"{level} interval {_between(one.gains['reward'], 3)}")
    ]  # fmt: skip
    if "cost_usd" in one.estimates:
        cost, now = one.estimates["cost_usd"][primary], result.incumbent["cost_usd"]
        change = f"{cost.value / now.value - 1.0:+.0%} against now".replace("-", "−") if now.value > 0.0 else "now 0"
        found.append(figure("Cost per 1,000", f"${_PER * cost.value:.2f}", f"{change} (${_PER * now.value:.2f})"))
    if one.mix is not None:
        note = f"quality beyond mixing providers at the same spend, {_between(one.mix.lift, 3)}"
        found.append(figure("Lift", number(one.mix.lift.value, 3, sign=True), note))
    passed = sum(finding.passed for finding in one.findings)
    note = f"{passed} of {len(one.findings)} checks passed; the log is worth so many own decisions of this policy"
    found.append(figure("Evidence", f"{one.effective_size:,.0f}", note))
    return found


def _between(one: Estimate, digits: int) -> str:
    return f"{number(one.low, digits, sign=True)} to {number(one.high, digits, sign=True)}"


def _plane(result: Replay) -> str:
    primary = result.settings.primary
    rows = [["as logged", *ends(result.incumbent["reward"]), *ends(result.incumbent["cost_usd"], scale=_PER), "–"]]
    for one in result.judged:
        lift = "–" if one.mix is None else number(one.mix.lift.value, sign=True)
        quality, cost = one.estimates["reward"][primary], one.estimates["cost_usd"][primary]
        rows.append([one.label, *ends(quality), *ends(cost, scale=_PER), lift])
    for cell in result.cells:
        if cell.task == ALL:
            rows.append([f"always {cell.provider}", number(cell.quality), "", "", number(_PER * cell.cost_usd), "", "", ""])
    heads = ["policy", "quality", "low", "high", "USD per 1,000", "low", "high", "lift"]
    chart = chart_html(lambda width: charts.plane(result, width), "Quality against cost of all policies")
    return (
        "<h2>Quality against cost</h2><p>Up and to the left is better. Diamonds are always one provider, the dashed "
        "line their best mix; what lies above it is what routing adds. Bars and bands are "
        f"{result.settings.level:.0%} intervals.</p>{chart}{folded('Table', table(heads, rows))}"
    )


def _estimators(result: Replay, one: Judged) -> str:
    primary = result.settings.primary
    rows = list(one.estimates["reward"].items())
    chart = chart_html(
        lambda width: charts.forest(rows, width, title="Quality, 0 to 1", zero=False, bold=primary),
        "Quality by every estimator with intervals",
    )
    heads = ["estimator", "value", "low", "high", "standard error"]
    tables = "".join(
        f"<h3>{escape(each.label)}</h3>"
        + table(heads, [[n, *ends(e), number(e.standard_error)] for n, e in each.estimates["reward"].items()], strong=primary)
        for each in result.judged
    )
    intervals = table(
        ["interval of the gain", "value", "low", "high"],
        [[name, *ends(e, sign=True)] for name, e in one.intervals.items()],
    )
    return (
        f"<h2>Do the estimators agree?</h2><p>Quality of {escape(one.label)} by every estimator; {escape(primary)} "
        f"decides. Estimators that differ by more than their intervals are a warning.</p>{chart}"
        f"{folded('Table, all policies', tables)}{folded('Four kinds of interval', intervals)}"
    )


def _slices(result: Replay, one: Judged) -> str:
    if not one.slices:
        return ""
    rows = [(f"{part.by}={part.value}", part.gain) for part in one.slices]
    chart = chart_html(
        lambda width: charts.forest(rows, width, title="Gain in quality", zero=True), "Gain in quality by slice"
    )
    heads = ["slice", "policy", "decisions", "as logged", "target", "low", "high", "gain", "low", "high", "ESS"]
    body = [
        [f"{part.by}={part.value}", each.label, f"{part.n:,}", number(part.incumbent.value), *ends(part.target),
         *ends(part.gain, sign=True), f"{part.effective_size:,.0f}"]
        for each in result.judged
        for part in each.slices
    ]  # fmt: skip
    return (
        f"<h2>Where does it gain?</h2><p>Gain of {escape(one.label)} in quality, slice by slice. With many slices some "
        f"intervals miss 0 by chance.</p>{chart}{folded('Table, all policies', table(heads, body))}"
    )


def _weights(result: Replay, one: Judged) -> str:
    chart = chart_html(lambda width: charts.weights(one, width), "Histogram of importance weights")
    edges = charts.WEIGHT_EDGES.tolist()
    rows = [[f"{edges[i]:.3g}", f"{count:,}"] for i, count in enumerate(one.histogram) if count]
    sizes = table(["policy", "decisions", "ESS"], [[e.label, f"{e.n:,}", f"{e.effective_size:,.0f}"] for e in result.judged])
    return (
        f"<h2>How much does the log say?</h2><p>Weights of {escape(one.label)}: a decision of weight 5 stands for five. "
        f"The log is worth {one.effective_size:,.0f} of the policy's own decisions.</p>{chart}"
        f"{folded('Table', table(['weight from', 'decisions'], rows) + sizes)}"
    )


def _time(result: Replay, one: Judged) -> str:
    chart = chart_html(lambda width: charts.over_time(result, one, width), "Quality over time of both policies")
    rows = [
        [_minute(bucket_middle_s(result, int(part.value))), f"{part.n:,}", number(part.incumbent.value),
         *ends(part.target)]
        for part in one.over_time
    ]  # fmt: skip
    heads = ["middle of the span (UTC)", "decisions", "as logged", "target", "low", "high"]
    return (
        "<h2>Quality over time</h2><p>The same spans for both; a target that learns starts from nothing at the left."
        f"</p>{chart}{folded('Table', table(heads, rows))}"
    )


def _win_map(result: Replay) -> str:
    chart = chart_html(lambda width: charts.win_map(result.cells, width), "Quality by task and provider")
    rows = [
        [cell.task, cell.provider, f"{cell.n:,}", number(cell.quality, 3), number(cell.quality_se, 3),
         number(_PER * cell.cost_usd, 3)]
        for cell in result.cells
    ]  # fmt: skip
    heads = ["task", "provider", "decisions", "quality", "s.e. at most", "USD per 1,000"]
    return (
        "<h2>Who wins where?</h2><p>Quality of always one provider, by task (SNIPS); the best of each row is framed. "
        f"Cheap providers stand on the left.</p>{chart}{folded('Table', table(heads, rows))}"
    )


def _diagnostics(result: Replay) -> str:
    first, *rest = [_findings(one) for one in result.judged]
    return (
        "<h2>Can the log be trusted?</h2><p>A check that fails names no winner, whatever the intervals say.</p>"
        + first
        + (folded("The other policies", "".join(rest)) if rest else "")
    )


def _findings(one: Judged) -> str:
    """A list and not a table: on a phone the sentences of a table would be an inch wide."""
    entries = "".join(
        f"<li><b class={'passes' if f.passed else 'fails'}>{'passed' if f.passed else 'FAILS'}</b> "
        f"<b>{escape(f.name)}</b>: {number(f.measured, 4)} (limit {number(f.limit, 4)}). {escape(f.text)}</li>"
        for f in one.findings
    )
    return f"<h3>{escape(one.label)}</h3><ul class=others>{entries}</ul>"


def _how(result: Replay) -> str:
    settings = result.settings
    rows = [
        ["estimator that decides", settings.primary], ["confidence", f"{settings.level:.0%}"],
        ["willingness to pay, USD per point", "none" if settings.wtp_usd is None else f"{settings.wtp_usd:g}"],
        ["smallest gain worth a change", f"{settings.margin:g}"], ["reward model", settings.model],
        ["bootstrap resamples", f"{settings.resamples:,}"], ["seed", str(settings.seed)],
    ]  # fmt: skip
    return f"<h2>How it was computed</h2>{table(['setting', 'value'], rows)}"


def _definitions() -> str:
    entries = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in DEFINITIONS)
    return f"<h2>What every number means</h2><dl>{entries}</dl>"


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")


def _minute(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
