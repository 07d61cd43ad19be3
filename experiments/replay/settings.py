"""What a replay judges, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.betting import RewardRange
from fairlead.experiments.ope.bootstrap import RESAMPLES
from fairlead.experiments.ope.estimators import ESTIMATORS
from fairlead.experiments.ope.intervals import LEVEL, check_level
from fairlead.experiments.targets.base import NO_GOAL, TargetSpec
from fairlead.optimizer.errors import InvalidInput, finite

Model = Literal["auto", "ridge", "boosting", "mean", "column"]
Tuning = Mapping[str, float]
"""λ by the name of an estimator."""

TIME_BUCKETS: Final = 24
"""Equal spans of the log, by which a report draws quality over time."""

UTILITY: Final = "utility"
ON_POLICY: Final = "on-policy"
INCUMBENT: Final = "the logging policy"
SLICES: Final = ("task", "week", "route")
"""What a log can be sliced by besides the attributes of its contexts."""


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """The ``targets`` to judge, the ``estimators`` to use, of which ``primary`` decides, and the confidence.

    ``wtp_usd`` sets the utility that the verdict is about; None: quality. ``by`` slices by those of `SLICES`
    or the name of an attribute. With ``rejection``, targets that learn are also played by rejection.
    ``resamples`` is the size of the bootstrap, 0 for none. ``margin`` is the smallest gain that is worth a
    change. The verdict holds however often it is looked at, or with ``fixed_sample`` for a single look that
    was planned. ``cluster`` names the attribute whose decisions depend on each other. Decisions up to
    ``trained_until_s``, seconds since 1970, are not judged: the column's policy has learned from them; None
    if that is unknown. `InvalidInput` says which setting cannot be.

    >>> from fairlead.experiments.targets.base import TargetSpec
    >>> settings = ReplaySettings(targets=(TargetSpec(name="uniform"),), wtp_usd=0.01, by=("task",))
    >>> settings.quantity, settings.primary, settings.level
    ('utility', 'dr', 0.95)
    """

    targets: tuple[TargetSpec, ...]
    wtp_usd: float | None = None
    latency_weight: float = 0.0
    primary: str = "dr"
    estimators: tuple[str, ...] = tuple(name for name in ESTIMATORS if name != ON_POLICY)
    model: Model = "auto"
    tune: bool = False
    rejection: bool = False
    by: tuple[str, ...] = ()
    level: float = LEVEL
    resamples: int = RESAMPLES
    margin: float = 0.0
    seed: int = 0
    fixed_sample: bool = False
    cluster: str | None = None
    trained_until_s: float | None = None

    def __post_init__(self) -> None:
        for name in (*self.estimators, self.primary):
            if name not in ESTIMATORS or name == ON_POLICY:
                names = ", ".join(name for name in ESTIMATORS if name != ON_POLICY)
                raise InvalidInput(f"there is no estimator {name!r}: choose among {names}")
        if self.primary not in self.estimators:
            raise InvalidInput(f"{self.primary!r} decides but is not computed: add it to the estimators")
        check_level(self.level)
        remedy = "give the smallest gain that is worth a change"
        finite("margin", self.margin, low=0.0, high=1e6, remedy=remedy)
        if self.wtp_usd is not None:
            remedy = "give USD per point of quality, more than 0"
            finite("wtp", self.wtp_usd, low=1e-12, high=1e9, remedy=remedy)
        remedy = "give points of quality per second, at least 0"
        finite("latency weight", self.latency_weight, low=0.0, high=1e6, remedy=remedy)
        if self.seed < 0:
            raise InvalidInput(f"the seed is {self.seed}: give a whole number of at least 0")

    @property
    def names(self) -> tuple[str, ...]:
        """The estimates of every metric in their order; the first is the incumbent's."""
        return (ON_POLICY, *self.estimators)

    @property
    def quantity(self) -> str:
        """The quantity that the verdict is about: `quality` or `utility`."""
        return "quality" if self.wtp_usd is None and not self.latency_weight else "utility"


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplayJob:
    """A log, what to compute from it, and λ by target once tuned: what every process needs.

    ``keys`` are attributes, such as a user's, by which draws are looked at for being alike.
    """

    log: Log
    settings: ReplaySettings
    tuning: tuple[Tuning, ...] = ()
    keys: tuple[str, ...] = ()

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The outcomes that the log has in any row, `reward` first."""
        facts = self.log.facts
        if not any(fact.judged for fact in facts):
            raise InvalidInput(
                f"{self.log.path} has no reward in any row, so nothing tells whether a policy is good: join "
                "feedback to it, or look at it with --descriptive"
            )
        has_cost = any(fact.mean_cost_usd == fact.mean_cost_usd for fact in facts)
        has_latency = any(fact.mean_latency_s == fact.mean_latency_s for fact in facts)
        return ("reward", *(["cost_usd"] if has_cost else []), *(["latency_s"] if has_latency else []))

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The outcomes that a decision needs to be judged: those that a verdict weighs, `reward` first."""
        specs, settings = self.settings.targets, self.settings
        weighs_cost = settings.wtp_usd is not None or any(spec.goal != NO_GOAL for spec in specs)
        used = {"reward": True, "cost_usd": weighs_cost, "latency_s": settings.latency_weight > 0.0}
        return tuple(metric for metric in self.metrics if used[metric])

    def factors(self, spec: TargetSpec) -> dict[str, float]:
        """Weigh the metrics in a target's utility; `InvalidInput` if the log lacks one that it needs."""
        factors = {"reward": 1.0}
        wtp_usd = spec.goal.wtp_usd or self.settings.wtp_usd
        if wtp_usd:
            factors["cost_usd"] = -1.0 / wtp_usd
        if self.settings.latency_weight:
            factors["latency_s"] = -self.settings.latency_weight
        for metric in factors:
            if metric not in self.metrics:
                raise InvalidInput(
                    f"{self.log.path} has no {metric}, which the utility needs: leave --wtp or "
                    "--latency-weight out"
                )
        return factors

    def quantities(self, spec: TargetSpec) -> dict[str, dict[str, float]]:
        """Weigh the metrics in every metric by itself, and in the utility if it is more than quality."""
        quantities = {metric: {metric: 1.0} for metric in self.metrics}
        factors = self.factors(spec)
        return {**quantities, UTILITY: factors} if len(factors) > 1 else quantities

    def within(self, factors: Mapping[str, float]) -> RewardRange:
        """Return the range of a weighted sum of metrics: quality up to 1, the others up to their largest."""
        facts = self.log.facts
        largest = {
            "reward": 1.0,
            "cost_usd": max((f.largest_cost_usd for f in facts if f.largest_cost_usd > 0.0), default=1.0),
            "latency_s": max((f.largest_latency_s for f in facts if f.largest_latency_s > 0.0), default=1.0),
        }
        ends = [factor * largest[metric] for metric, factor in factors.items()]
        return RewardRange(low=sum(min(end, 0.0) for end in ends), high=sum(max(end, 0.0) for end in ends))

    @cached_property
    def by(self) -> tuple[str, ...]:
        """The slices: those that were asked for, or tasks, so that harm to one is not lost in the mean."""
        return self.settings.by or (("task",) if self.log.tasks else ())

    @cached_property
    def model(self) -> Model:
        """The reward model; `auto` is the log's own, else ridge if there is a context, else the mean."""
        log, model = self.log, self.settings.model
        if model == "column" and not log.has_predictions:
            raise InvalidInput(f"{log.path} has no column reward_predictions: choose another --model")
        if model != "auto":
            return model
        if log.has_predictions:
            return "column"
        return "ridge" if log.width or log.tasks else "mean"

    @property
    def needs_contexts(self) -> bool:
        """Whether features or attributes have to be read for estimates."""
        sliced = set(self.settings.by) - {"task", "week"}
        return (
            self.model in ("ridge", "boosting")
            or bool(sliced)
            or self.settings.cluster is not None
            or bool(self.keys)
        )
