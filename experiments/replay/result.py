"""The result of a replay: every value with its interval, the diagnostics, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fairlead.experiments.baselines.frontier import Hull
from fairlead.experiments.logs.log import ProviderFacts
from fairlead.experiments.ope.counts import LogCounts
from fairlead.experiments.ope.diagnostics import Finding
from fairlead.experiments.ope.fixed_mix import FixedMix
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.ope.planning import Outlook
from fairlead.experiments.ope.verdict import Verdict
from fairlead.experiments.replay.settings import TIME_BUCKETS, ReplaySettings, Tuning
from fairlead.experiments.targets.base import TargetSpec


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """One slice for one target: n decisions, the quality of both policies, and the sample size.

    The gain is in what the verdict weighs; its bounds hold for all slices and targets together.
    """

    by: str
    value: str
    n: int
    incumbent: Estimate
    target: Estimate
    gain: Estimate
    effective_size: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A task or span (``by``, ``value``) of n decisions: what came of them, and what was predicted.

    ``likeliest_share`` says how often the likeliest provider was drawn, ``propensity`` is its mean
    probability.
    """

    by: str
    value: str
    n: int
    reward: float
    predicted_reward: float
    likeliest_share: float
    propensity: float


@dataclass(frozen=True, kw_only=True)
class WatchedGain:
    """The gain with its sequence at the end of a span (``bucket``) of the log, from all decisions so far."""

    bucket: int
    gain: Estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetResult:
    """The result for one target.

    ``estimates`` are by metric (``reward``, ``cost_usd``, ``latency_s``, and ``utility`` if there is one) and
    estimator; ``gains`` by metric are those of the target over the logging policy, both by the primary
    estimator, paired. ``intervals`` are of the gain in the quantity of the verdict. ``mix`` compares with the
    best fixed mix at the target's own spend. ``watched_gain`` is what the sequence said span by span, and
    ``outlook`` what would settle the question.
    """

    label: str
    spec: TargetSpec
    n: int
    estimates: Mapping[str, Mapping[str, Estimate]]
    gains: Mapping[str, Estimate]
    intervals: Mapping[str, Estimate]
    quantity: str
    findings: tuple[Finding, ...]
    verdict: Verdict
    mix: FixedMix | None
    shares: Mapping[str, float]
    effective_size: float
    histogram: tuple[int, ...]
    slices: tuple[SliceResult, ...]
    over_time: tuple[SliceResult, ...]
    watched_gain: tuple[WatchedGain, ...]
    outlook: Outlook | None
    tuning: Tuning


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The quality (with its standard error) and USD of always choosing a provider on a task, by SNIPS."""

    task: str
    provider: str
    n: int
    quality: float
    quality_se: float
    cost_usd: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """A whole replay; ``incumbent`` has the logging policy's own means by metric.

    ``cells`` are per task and provider, with the task `ALL` for the whole log. ``account`` says what the rows
    are that all of it rests on, and ``facts`` per provider; a failed call has the quality ``failure_reward``.
    ``is_adaptive`` says that propensities drift, as those of a policy that learns do.
    """

    path: str
    rows: int
    n: int
    first_s: float
    last_s: float
    facts: tuple[ProviderFacts, ...]
    failure_reward: float
    account: str
    settings: ReplaySettings
    incumbent: Mapping[str, Estimate]
    targets: tuple[TargetResult, ...]
    hull: Hull | None
    cells: tuple[Cell, ...]
    counts: LogCounts
    is_adaptive: bool
    calibration: tuple[Calibration, ...]
    notes: tuple[str, ...]

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of all providers of the log."""
        return tuple(fact.name for fact in self.facts)

    @property
    def headline(self) -> TargetResult:
        """The target that the first sentence is about: of those to promote the best, else the first.

        The best has the highest lift over the best fixed mix, since gains for different goals do not compare.
        """
        promoted = [target for target in self.targets if target.verdict.recommendation == "promote"]
        return max(promoted, key=_lift) if promoted else self.targets[0]


def _lift(target: TargetResult) -> float:
    return target.gains[target.quantity].value if target.mix is None else target.mix.lift.value


ALL: Final = "(all)"


def bucket_middle_s(result: Replay, bucket: float) -> float:
    """Return the middle of a span of the log, in seconds since 1970."""
    return result.first_s + (bucket + 0.5) * (result.last_s - result.first_s) / TIME_BUCKETS
