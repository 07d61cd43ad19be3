"""The page: first what to do and why, then the charts, each with its table, then what every number means."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.replay.result import Replay, TargetResult
from fairlead.experiments.report import sections
from fairlead.experiments.report.tables import details, figure, number, text

_STYLE: Final = Path(__file__).with_name("style.css")
_CLASS: Final = {"promote": "promote", "keep": "keep", "not enough evidence": "unsure"}
_PER: Final = 1000.0


def report_html(result: Replay) -> str:
    """Write the report as one HTML page that needs no other file and no network."""
    target = result.headline
    parts = [_first_screen(result, target)]
    if "cost_usd" in result.incumbent:
        parts.append(sections.plane(result))
    parts += [
        sections.estimators(result, target),
        sections.slices(result, target),
        sections.watched_gain(result, target),
        sections.sensitivity(result, target),
        sections.weights(result, target),
        sections.time(result, target),
        sections.win_map(result),
        sections.diagnostics(result),
        sections.calibration(result),
        sections.how(result),
        sections.definitions(),
    ]
    title = f"Replay of {Path(result.path).name}"
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{text(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _first_screen(result: Replay, target: TargetResult) -> str:
    verdict = target.verdict
    word = {
        "promote": f"Promote {target.label}",
        "keep": "Keep what you have",
        "not enough evidence": "Not enough evidence yet",
    }[verdict.recommendation]
    days = f"{_day(result.first_s)} to {_day(result.last_s)}"
    heading = f"{Path(result.path).name}: {result.n:,} decisions, {days}, {len(result.providers)} providers"
    others = "".join(
        f"<li><b>{text(other.label)}</b>: {text(other.verdict.sentence)}</li>"
        for other in result.targets
        if other is not target
    )
    notes = "".join(f"<p class=note>{text(note)}</p>" for note in result.notes)
    return (
        f"<h1>{text(heading)}</h1><div class='verdict {_CLASS[verdict.recommendation]}'>"
        f"<div class=word>{text(word)}</div><p>{text(verdict.sentence)}</p>"
        f"<p>{text(result.account)}</p></div>"
        f"<div class=figures>{''.join(_figures(result, target))}</div>"
        + (details("The other policies", f"<ul class=others>{others}</ul>") if others else "")
        + notes
    )


def _figures(result: Replay, target: TargetResult) -> list[str]:
    primary, level = result.settings.primary, f"{result.settings.level:.0%}"
    quality = target.estimates["reward"][primary]
    figures = []
    if target.quantity != "reward":
        gain, goal = target.gains[target.quantity], target.spec.goal.wtp_usd or result.settings.wtp_usd
        worth = "" if goal is None else f"quality less cost, at ${goal:g} a point, "
        figures.append(
            figure("Gain", number(gain.value, 3, sign=True), f"{worth}{level} interval {_between(gain, 3)}")
        )
    figures += [
        figure(
            "Quality",
            number(quality.value, 3),
            f"{number(target.gains['reward'].value, 3, sign=True)} against now, "
            f"{level} interval {_between(target.gains['reward'], 3)}",
        )
    ]
    if "cost_usd" in target.estimates:
        cost, now = target.estimates["cost_usd"][primary], result.incumbent["cost_usd"]
        change = (
            f"{cost.value / now.value - 1.0:+.0%} against now".replace("-", "−")
            if now.value > 0.0
            else "now 0"
        )
        figures.append(
            figure("Cost per 1,000", f"${_PER * cost.value:.2f}", f"{change} (${_PER * now.value:.2f})")
        )
    if target.mix is not None:
        note = f"quality beyond mixing providers at the same spend, {_between(target.mix.lift, 3)}"
        figures.append(figure("Lift", number(target.mix.lift.value, 3, sign=True), note))
    passed = sum(finding.passed for finding in target.findings)
    note = f"{passed} of {len(target.findings)} checks passed; as many own decisions the log is worth"
    figures.append(figure("Evidence", f"{target.effective_size:,.0f}", note))
    return figures


def _between(estimate: Estimate, digits: int) -> str:
    return f"{number(estimate.low, digits, sign=True)} to {number(estimate.high, digits, sign=True)}"


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")
