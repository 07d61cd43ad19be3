"""The sections of the page below the first screen: each a chart, what it says, and its table."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import altair as alt

from fairlead.experiments.charts.theme import svg_text
from fairlead.experiments.ope.diagnostics import Finding
from fairlead.experiments.ope.verdict import signed
from fairlead.experiments.replay.partial_results import WEIGHT_EDGES
from fairlead.experiments.replay.rejection import REJECTION
from fairlead.experiments.replay.result import ALL, Replay, TargetResult, bucket_middle_s
from fairlead.experiments.report import charts
from fairlead.experiments.report.definitions import DEFINITIONS
from fairlead.experiments.report.tables import details, ends, number, table, text

_WIDE, _NARROW = 900, 360
_PER: Final = 1000.0
_PASSED: Final = "<b class=passes>passed</b>"
_FAILED: Final = "<b class=fails>FAILS</b>"


def chart_html(draw: Callable[[int], alt.LayerChart], description: str) -> str:
    """Draw a chart for wide and one for narrow screens, as pictures that need no script."""
    label = text(description)
    return "".join(
        f"<div class='chart {name}' role=img aria-label='{label}'>{svg_text(draw(width))}</div>"
        for name, width in (("wide", _WIDE), ("narrow", _NARROW))
    )


def plane(result: Replay) -> str:
    """Where every policy lies in the plane of cost and quality."""
    primary = result.settings.primary
    rows = [
        ["as logged", *ends(result.incumbent["reward"]), *ends(result.incumbent["cost_usd"], scale=_PER), "–"]
    ]
    for target in result.targets:
        lift = "–" if target.mix is None else number(target.mix.lift.value, sign=True)
        quality, cost = target.estimates["reward"][primary], target.estimates["cost_usd"][primary]
        rows.append([target.label, *ends(quality), *ends(cost, scale=_PER), lift])
    rows += [
        [f"always {cell.provider}", number(cell.quality), "", "", number(_PER * cell.cost_usd), "", "", ""]
        for cell in result.cells
        if cell.task == ALL
    ]
    heads = ["policy", "quality", "low", "high", "USD per 1,000", "low", "high", "lift"]
    chart = chart_html(lambda width: charts.plane(result, width), "Quality against cost of all policies")
    return (
        "<h2>Quality against cost</h2><p>Up and to the left is better. Diamonds are always one provider, the "
        "blue line their best mix; what lies above it is what routing adds. Bars and bands are "
        f"{result.settings.level:.0%} intervals.</p>{chart}{details('Table', table(heads, rows))}"
    )


def estimators(result: Replay, target: TargetResult) -> str:
    """Show the target's quality by every estimator, and the kinds of interval of the gain."""
    primary = result.settings.primary
    rows = list(target.estimates["reward"].items())
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
        f"<h3>{text(each.label)}</h3>"
        + table(
            heads,
            [[n, *ends(e), number(e.standard_error)] for n, e in each.estimates["reward"].items()],
            strong=primary,
        )
        for each in result.targets
    )
    intervals = table(
        ["interval of the gain", "value", "low", "high"],
        [[name, *ends(e, sign=True)] for name, e in target.intervals.items()],
    )
    return (
        f"<h2>Do the estimators agree?</h2><p>Quality of {text(target.label)} by every estimator; "
        f"{text(primary)} decides. Estimators that differ by more than their intervals are a warning."
        f"{aside}</p>{chart}"
        f"{details('Table, all policies', tables)}{details('Kinds of interval', intervals)}"
    )


def slices(result: Replay, target: TargetResult) -> str:
    """Show the gain in each slice of the log; nothing without slices."""
    if not target.slices:
        return ""
    rows = [
        (f"{part.value}: {part.n:,}, ESS {part.effective_size:,.0f}", part.gain) for part in target.slices
    ]
    name = gain_name(target)
    chart = chart_html(lambda width: charts.forest(rows, width, title=name, zero=True), f"{name} by slice")
    names = "slice policy decisions logged target low high gain low high ESS"
    heads = names.split()
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
        f"<h2>Where does it gain?</h2><p>{name} of {text(target.label)}, slice by slice, with decisions and "
        "effective sample size. The intervals hold for all slices and policies together, however often they "
        f"are looked at.</p>{chart}"
        f"{details('Table, all policies', table(heads, body))}"
    )


def weights(result: Replay, target: TargetResult) -> str:
    """Show the importance weights and what they leave of the log."""
    chart = chart_html(lambda width: charts.weights(target, width), "Histogram of importance weights")
    edges = WEIGHT_EDGES.tolist()
    rows = [[f"{edges[i]:.3g}", f"{count:,}"] for i, count in enumerate(target.histogram) if count]
    sizes = table(
        ["policy", "decisions", "ESS"],
        [[e.label, f"{e.n:,}", f"{e.effective_size:,.0f}"] for e in result.targets],
    )
    return (
        f"<h2>How much does the log say?</h2><p>Weights of {text(target.label)}: a decision of weight 5 "
        f"stands for five. The log is worth {target.effective_size:,.0f} of the policy's own decisions.</p>"
        f"{chart}"
        f"{details('Table', table(['weight from', 'decisions'], rows) + sizes)}"
    )


def time(result: Replay, target: TargetResult) -> str:
    """Quality of both policies over time."""
    chart = chart_html(
        lambda width: charts.over_time(result, target, width), "Quality over time of both policies"
    )
    rows = [
        [
            _minute(bucket_middle_s(result, int(part.value))),
            f"{part.n:,}",
            number(part.incumbent.value),
            *ends(part.target),
        ]
        for part in target.over_time
    ]
    heads = ["middle of the span (UTC)", "decisions", "as logged", "target", "low", "high"]
    return (
        "<h2>Quality over time</h2><p>The same spans for both; a target that learns starts from nothing "
        f"at the left.</p>{chart}{details('Table', table(heads, rows))}"
    )


def gain_name(target: TargetResult) -> str:
    """Name the gain that the verdict is about."""
    return "Gain in quality" if target.quantity == "reward" else "Gain in utility"


def watched_gain(result: Replay, target: TargetResult) -> str:
    """Show how the gain became known."""
    name = gain_name(target)
    chart = chart_html(
        lambda width: charts.watched_gain(result, target, width, title=name), f"{name} as the log grew"
    )
    rows = [
        [_minute(bucket_middle_s(result, span.bucket + 0.5)), f"{span.gain.n:,}", *ends(span.gain, sign=True)]
        for span in target.watched_gain
    ]
    heads = ["until (UTC)", "decisions", "gain", "low", "high"]
    return (
        f"<h2>When was it known?</h2><p>{name} of {text(target.label)} from all decisions so far, with its "
        "confidence sequence: each end holds at all times together, so one may stop at any of them."
        f"</p>{chart}{details('Table', table(heads, rows))}"
    )


def sensitivity(result: Replay, target: TargetResult) -> str:
    """Show what the gain in quality would be if an assumption failed."""
    quality, own = target.estimates["reward"], result.incumbent["reward"].value
    primary, gain = result.settings.primary, target.gains["reward"].value
    rows = [["as estimated", number(gain, sign=True)]]
    rows += [
        [f"weights tamed: {name}", number(quality[name].value - own, sign=True)]
        for name in ("clipped-dr", "switch-dr", "shrunk-dr", "clipped-ips")
        if name in quality and name != primary
    ]
    if "dm" in quality:
        weighted = quality[primary].value - quality["dm"].value
        for error in (-0.1, 0.1):
            moved = gain + weighted / (1.0 + error) - weighted
            rows.append([f"propensities are in truth {error:+.0%}", number(moved, sign=True)])
    unjudged = 1.0 - result.n / result.rows
    if unjudged > 0.0:
        judged = (1.0 - unjudged) * gain
        for word, most in (("worst", -1.0), ("best", 1.0)):
            label = f"the {unjudged:.0%} without a judgement are the {word} possible"
            rows.append([label, number(judged + most * unjudged, sign=True)])
    return (
        "<h2>What if an assumption fails?</h2><p>The gain in quality under other assumptions. The last rows "
        "are the worst and the best that decisions without a judgement could make of it.</p>"
        + table(["assumption", "gain in quality"], rows)
    )


def calibration(result: Replay) -> str:
    """Show rewards and propensities against what was predicted, by task and span."""
    rows = [
        [
            _minute(bucket_middle_s(result, int(part.value))) if part.by == "time" else f"task {part.value}",
            f"{part.n:,}",
            number(part.reward, 3),
            number(part.predicted_reward, 3),
            f"{part.likeliest_share:.1%}",
            f"{part.propensity:.1%}",
        ]
        for part in result.calibration
    ]
    heads = ["task, or span (UTC)", "decisions", "reward", "predicted", "likeliest drawn", "its propensity"]
    return (
        "<h2>Do models and propensities hold?</h2><p>Rewards beside what the reward model predicts, and how "
        "often the likeliest provider was drawn beside what its propensity says.</p>"
        + details("Table", table(heads, rows))
    )


def win_map(result: Replay) -> str:
    """Quality by task and provider."""
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
        f"row is framed, and cells of fewer than {charts.FEWEST} decisions are grey. Cheap ones stand on the "
        f"left.</p>{chart}{details('Table', table(heads, rows))}"
    )


def diagnostics(result: Replay) -> str:
    """Show the checks of every target."""
    top = result.headline
    others = [_findings(target) for target in result.targets if target is not top]
    return (
        "<h2>Can the log be trusted?</h2><p>A check that fails names no winner, whatever the intervals "
        f"say.</p>{_findings(top)}" + (details("The other policies", "".join(others)) if others else "")
    )


def _findings(target: TargetResult) -> str:
    """List the checks; on a phone the sentences of a table would be an inch wide."""
    entries = "".join(
        f"<li>{_PASSED if finding.passed else _FAILED} "
        f"<b>{text(finding.name)}</b>: {_measured(finding)}"
        f"{text(finding.text)}</li>"
        for finding in target.findings
    )
    return f"<h3>{text(target.label)}</h3><ul class=others>{entries}</ul>"


def _measured(finding: Finding) -> str:
    if not math.isfinite(finding.measured):
        return ""
    measured, limit = (signed(value).removeprefix("+") for value in (finding.measured, finding.limit))
    return f"{measured} (limit {limit}). "


def how(result: Replay) -> str:
    """Show the settings of the replay."""
    settings = result.settings
    rows = [
        ["estimator that decides", settings.primary],
        ["confidence", f"{settings.level:.0%}"],
        [
            "willingness to pay, USD per point",
            "none" if settings.wtp_usd is None else f"{settings.wtp_usd:g}",
        ],
        ["smallest gain worth a change", f"{settings.margin:g}"],
        ["quality of a call that failed", f"{result.failure_reward:g}"],
        ["reward model", settings.model],
        ["bootstrap resamples", f"{settings.resamples:,}"],
        ["seed", str(settings.seed)],
    ]
    return f"<h2>How it was computed</h2>{table(['setting', 'value'], rows)}"


def definitions() -> str:
    """Show the glossary of the page."""
    entries = "".join(f"<dt>{text(word)}</dt><dd>{text(meaning)}</dd>" for word, meaning in DEFINITIONS)
    return f"<h2>What every number means</h2><dl>{entries}</dl>"


def _minute(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
