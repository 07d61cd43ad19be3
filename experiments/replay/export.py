"""A replay as strict JSON and as CSV: every number of the report, and nothing else."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fairlead.experiments import files
from fairlead.experiments.files import json_value
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.replay.result import Replay, SliceResult, TargetResult

NAMES = {"reward": "quality", "cost_usd": "cost_usd", "latency_s": "latency_s", "utility": "utility"}


def _estimate(one: Estimate) -> dict[str, Any]:
    return asdict(one)


def _sliced(one: SliceResult) -> dict[str, Any]:
    parts = {"incumbent": one.incumbent, "target": one.target, "gain": one.gain}
    return {
        "by": one.by, "value": one.value, "n": one.n, "effective_size": one.effective_size,
        **{name: _estimate(part) for name, part in parts.items()},
    }  # fmt: skip


def _judged(one: TargetResult) -> dict[str, Any]:
    return {
        "target": one.label,
        "name": one.spec.name,
        "goal": asdict(one.spec.goal),
        "n": one.n,
        "verdict": {
            # The name of the field is older than that of the attribute.
            "judgement": one.verdict.recommendation,
            "sentence": one.verdict.sentence,
            "more_decisions": one.verdict.more_decisions,
        },
        "estimates": {
            NAMES[metric]: {name: _estimate(part) for name, part in some.items()}
            for metric, some in one.estimates.items()
        },
        "gains": {NAMES[metric]: _estimate(part) for metric, part in one.gains.items()},
        "intervals": {name: _estimate(part) for name, part in one.intervals.items()},
        "lift_over_best_fixed_mix": None if one.mix is None else _estimate(one.mix.lift),
        "findings": [asdict(finding) for finding in one.findings],
        "shares": dict(one.shares),
        "effective_size": one.effective_size,
        "tuned_lambda": dict(one.tuning),
        "slices": [_sliced(part) for part in one.slices],
    }


def as_dict(result: Replay) -> dict[str, Any]:
    """The replay as plain data."""
    settings = asdict(result.settings)
    return {
        "log": {
            "path": result.path,
            "decisions": result.rows,
            "judged": result.n,
            "from": _time(result.first_s),
            "to": _time(result.last_s),
            "providers": list(result.providers),
            "notes": list(result.notes),
        },
        "incumbent": {NAMES[metric]: _estimate(part) for metric, part in result.incumbent.items()},
        "targets": [_judged(one) for one in result.targets],
        "providers_by_task": [asdict(cell) for cell in result.cells],
        "settings": settings,
    }


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def json_text(result: Replay) -> str:
    """All of it, as strict JSON."""
    return files.json_text(as_dict(result))


def csv_text(result: Replay) -> str:
    """One line per target, slice, metric and estimator."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["target", "slice", "metric", "estimator", "value", "low", "high", "standard_error", "n", "verdict"]
    )

    def write(target: str, where: str, metric: str, name: str, one: Estimate, verdict: str = "") -> None:
        numbers = [json_value(value) for value in (one.value, one.low, one.high, one.standard_error)]
        writer.writerow([target, where, metric, name, *numbers, one.n, verdict])

    for judged in result.targets:
        for metric, some in judged.estimates.items():
            for name, one in some.items():
                write(judged.label, "", NAMES[metric], name, one, judged.verdict.recommendation)
        for metric, one in judged.gains.items():
            write(
                judged.label,
                "",
                f"{NAMES[metric]} gain",
                result.settings.primary,
                one,
                judged.verdict.recommendation,
            )
        for part in judged.slices:
            where = f"{part.by}={part.value}"
            write(judged.label, where, "quality", result.settings.primary, part.target)
            write(judged.label, where, "quality gain", result.settings.primary, part.gain)
    return text.getvalue()
