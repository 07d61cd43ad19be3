"""Section 7: processor seconds of off-policy estimates and their bootstrap, beside obp on equal columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from fairlead.experiments.benchmarks.peers import ask
from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.benchmarks.tables import Options
from fairlead.experiments.ope.bootstrap import percentile, resample
from fairlead.experiments.ope.estimators import (
    DEFAULT_LAMBDA,
    DEFAULT_SUB_GAUSSIAN_LAMBDA,
    ESTIMATORS,
    Estimator,
)
from fairlead.experiments.ope.intervals import asymptotic
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments

SCRIPT: Final = Path(__file__).with_name("obp_process.py")
_ABSENT: Final = (
    "obp is left out: no interpreter has it. Run `make peers-ope`, or name one in FAIRLEAD_OBP_PYTHON."
)
_PROVIDERS: Final = 20
_RESAMPLES: Final = 2_000
_ROUNDS: Final = 3
_SHARED: Final[Mapping[str, Estimator]] = {n: e for n, e in ESTIMATORS.items() if n != "on-policy"}

Answer = dict[str, Any]
T = TypeVar("T")


def off_policy_speed(options: Options) -> Section:
    """Processor time of one thread each, which a busy machine disturbs little; the median of three rounds."""
    section = Section(number=7, title="Speed of off-policy estimates")
    _estimates(section, options)
    _bootstrap(section, options)
    if options.obp is None:
        section.notes.append(_ABSENT)
    return section


def _estimates(section: Section, options: Options) -> None:
    columns = _columns(options.estimated, _PROVIDERS, seed=0)
    ours, theirs = [], []
    estimates: dict[str, float] = {}
    for _ in range(_ROUNDS):
        seconds, estimates = _time(lambda: _values(columns))
        ours.append(seconds)
        answer = _ask(section, options, "estimates", columns=columns)
        if answer:
            theirs.append(sum(part["seconds"] for part in answer.values()))
            _compare(section, estimates, answer)
    label = f"{len(_SHARED)} estimators, {options.estimated:,} decisions × {_PROVIDERS} providers"
    section.show(f"{label}: seconds", [float(np.median(ours))], digits=3)
    intervals = _time(lambda: _intervals(columns))[0]
    section.show(f"{label}, with intervals and all covariances: seconds", [intervals], digits=3)
    if theirs:
        section.show(f"{label}, obp: seconds", [float(np.median(theirs))], digits=3)
        section.at_least(
            f"{label}: times faster than obp", [float(np.median(theirs) / np.median(ours))], 5.0, digits=1
        )


def _bootstrap(section: Section, options: Options) -> None:
    columns = _columns(options.resampled, _PROVIDERS, seed=1)
    _resample(_columns(100, _PROVIDERS, seed=2), _SHARED)  # compiled, or loaded, before it is timed
    together = [_time(lambda: _resample(columns, _SHARED))[0] for _ in range(_ROUNDS)]
    alone = [_time(lambda: _resample(columns, {"snips": ESTIMATORS["snips"]}))[0] for _ in range(_ROUNDS)]
    answer = _ask(section, options, "bootstrap", columns=columns)
    label = f"{_RESAMPLES:,} resamples of {options.resampled:,} decisions"
    for name, ours, theirs in (
        (f"{label}, {len(_SHARED)} estimators", together, [part["seconds"] for part in answer.values()]),
        (f"{label}, SNIPS alone", alone, [answer["snips"]["seconds"]] if answer else []),
    ):
        section.show(f"{name}: seconds", [float(np.median(ours))], digits=3)
        if theirs:
            section.show(f"{name}, obp: seconds", [sum(theirs)], digits=3)
            faster = sum(theirs) / float(np.median(ours))
            section.at_least(f"{name}: times faster than obp", [faster], 10.0, digits=1)


def _columns(n: int, k: int, *, seed: int) -> dict[str, Any]:
    """Draw n decisions among k providers with a reward of 0 or 1 and every propensity at least .1 / k."""
    rng = np.random.default_rng([seed, n, k])
    logging, target = (rng.standard_gamma(0.5, (n, k)) + 1e-9 for _ in range(2))
    logging = 0.9 * logging / logging.sum(axis=1, keepdims=True) + 0.1 / k
    target /= target.sum(axis=1, keepdims=True)
    action = (rng.random((n, 1)) > logging.cumsum(axis=1)).sum(axis=1).clip(max=k - 1)
    mean = rng.random((n, k))
    return {
        "reward": (rng.random(n) < mean[np.arange(n), action]).astype(np.float64),
        "action": action,
        "propensity": logging[np.arange(n), action],
        "target": target,
        "q_hat": np.clip(mean + 0.2 * rng.standard_normal((n, k)), 0.0, 1.0),
    }


def _values(columns: dict[str, Any]) -> dict[str, float]:
    decisions = LoggedBatch(**columns)
    return {name: estimator(decisions).value for name, estimator in _SHARED.items()}


def _intervals(columns: dict[str, Any]) -> None:
    decisions = LoggedBatch(**columns)
    moments = Moments.of({name: estimator(decisions) for name, estimator in _SHARED.items()})
    for name in moments.names:
        asymptotic(moments, name)


def _resample(columns: dict[str, Any], chosen: Mapping[str, Estimator]) -> None:
    decisions = LoggedBatch(**columns)
    terms = {name: estimator(decisions) for name, estimator in chosen.items()}
    resamples = resample(terms, seed=0, resamples=_RESAMPLES)
    for name in resamples.names:
        percentile(resamples, name)


def _time(work: Callable[[], T]) -> tuple[float, T]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def _ask(section: Section, options: Options, mode: str, *, columns: dict[str, Any]) -> Answer:
    if options.obp is None:
        return {}
    settings = {
        "lam": DEFAULT_LAMBDA,
        "sub_gaussian_lam": DEFAULT_SUB_GAUSSIAN_LAMBDA,
        "resamples": _RESAMPLES,
    }
    answer = ask(options.obp, SCRIPT, mode, arrays=columns | {k: np.array(v) for k, v in settings.items()})
    section.notes += answer.pop("notes", [])
    return answer


def _compare(section: Section, estimates: dict[str, float], answer: Answer) -> None:
    """Both must have done the same work."""
    gap = max(abs(estimates[name] - part["found"][0]) for name, part in answer.items())
    note = f"The largest difference between the two on any estimate is {gap:.0e}."
    if note not in section.notes:
        section.notes.append(note)
