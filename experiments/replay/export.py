"""A replay as strict JSON and as CSV: every number of the report, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fairlead.experiments import files
from fairlead.experiments.files import json_value
from fairlead.experiments.logs.log import ProviderFacts
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.replay.result import Replay, SliceResult, TargetResult

NAMES = {"reward": "quality", "cost_usd": "cost_usd", "latency_s": "latency_s", "utility": "utility"}


def _slice_fields(part: SliceResult) -> dict[str, Any]:
    estimates = {"incumbent": part.incumbent, "target": part.target, "gain": part.gain}
    return {
        "by": part.by, "value": part.value, "n": part.n, "effective_size": part.effective_size,
        **{name: asdict(estimate) for name, estimate in estimates.items()},
    }  # fmt: skip


def _target_fields(target: TargetResult) -> dict[str, Any]:
    return {
        "target": target.label,
        "name": target.spec.name,
        "goal": asdict(target.spec.goal),
        "n": target.n,
        "verdict": {
            # The name of the field is older than that of the attribute.
            "judgement": target.verdict.recommendation,
            "sentence": target.verdict.sentence,
            "more_decisions": target.verdict.more_decisions,
        },
        "estimates": {
            NAMES[metric]: {name: asdict(estimate) for name, estimate in estimates.items()}
            for metric, estimates in target.estimates.items()
        },
        "gains": {NAMES[metric]: asdict(gain) for metric, gain in target.gains.items()},
        "intervals": {name: asdict(interval) for name, interval in target.intervals.items()},
        "lift_over_best_fixed_mix": None if target.mix is None else asdict(target.mix.lift),
        "findings": [asdict(finding) for finding in target.findings],
        "shares": dict(target.shares),
        "effective_size": target.effective_size,
        "tuned_lambda": dict(target.tuning),
        "outlook": None if target.outlook is None else asdict(target.outlook),
        "watched_gain": [asdict(span) for span in target.watched_gain],
        "slices": [_slice_fields(part) for part in target.slices],
    }


def as_dict(result: Replay) -> dict[str, Any]:
    """Return the replay as data for JSON."""
    settings = asdict(result.settings)
    return {
        "log": {
            "account": result.account,
            "path": result.path,
            "decisions": result.rows,
            "judged": result.n,
            "from": _time(result.first_s),
            "to": _time(result.last_s),
            "providers": list(result.providers),
            "failure_reward": result.failure_reward,
            "rows_by_provider": {fact.name: row_counts(fact) for fact in result.facts},
            "notes": list(result.notes),
        },
        "incumbent": {NAMES[metric]: asdict(estimate) for metric, estimate in result.incumbent.items()},
        "targets": [_target_fields(target) for target in result.targets],
        "providers_by_task": [asdict(cell) for cell in result.cells],
        "is_adaptive": result.is_adaptive,
        "calibration": [asdict(part) for part in result.calibration],
        "settings": settings,
    }


def row_counts(fact: ProviderFacts) -> dict[str, int]:
    """Count the rows of a provider: what they are, and which are missing what."""
    return {
        "chosen": fact.chosen,
        "failed": fact.failed,
        "unjudged": fact.unjudged,
        "unknown_cost": fact.without_cost,
        "left_out": fact.left_out,
    }


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def json_text(result: Replay) -> str:
    """Write everything as strict JSON."""
    return files.json_text(as_dict(result))


def csv_text(result: Replay) -> str:
    """Write one line per target, slice, metric and estimator."""
    rows: list[list[Any]] = [
        ["target", "slice", "metric", "estimator", "value", "low", "high", "standard_error", "n", "verdict"]
    ]
    for target in result.targets:
        for (slice_name, metric, name), estimate, verdict in _estimates(result, target):
            ends = (estimate.value, estimate.low, estimate.high, estimate.standard_error)
            numbers = [json_value(number) for number in ends]
            rows.append([target.label, slice_name, metric, name, *numbers, estimate.n, verdict])
    return files.csv_text(rows)


def _estimates(result: Replay, target: TargetResult) -> Iterator[tuple[tuple[str, str, str], Estimate, str]]:
    """Go through a target's estimates, each with its (slice, metric, estimator) and the verdict if any."""
    verdict, primary = target.verdict.recommendation, result.settings.primary
    for metric, estimates in target.estimates.items():
        for name, estimate in estimates.items():
            yield ("", NAMES[metric], name), estimate, verdict
    for metric, gain in target.gains.items():
        yield ("", f"{NAMES[metric]} gain", primary), gain, verdict
    for part in target.slices:
        slice_name = f"{part.by}={part.value}"
        yield (slice_name, "quality", primary), part.target, ""
        yield (slice_name, "quality gain", primary), part.gain, ""
