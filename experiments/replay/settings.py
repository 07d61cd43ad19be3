"""What a replay judges, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fairlead.experiments.logs.log import Log
from fairlead.experiments.ope.bootstrap import RESAMPLES
from fairlead.experiments.ope.estimators import ESTIMATORS
from fairlead.experiments.ope.intervals import LEVEL, check_level
from fairlead.experiments.targets.base import TargetSpec
from fairlead.optimizer.errors import InvalidInput, finite

Model = Literal["auto", "ridge", "boosting", "mean", "column"]
ON_POLICY: Final = "on-policy"
INCUMBENT: Final = "the logging policy"
_SLICES: Final = ("task", "week")


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """What is judged (``targets``), by what (``estimators``, of which ``primary`` decides), and how surely.

    ``wtp_usd`` sets the utility that the verdict is about; None: quality. ``by`` slices by ``task``,
    ``week`` or the name of an attribute. With ``rejection`` targets that learn are played by rejection too.
    ``resamples`` of the bootstrap, 0 for none. ``margin`` is the smallest gain that is worth a change.
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

    def __post_init__(self) -> None:
        for name in (*self.estimators, self.primary):
            if name not in ESTIMATORS or name == ON_POLICY:
                known = ", ".join(name for name in ESTIMATORS if name != ON_POLICY)
                raise InvalidInput(f"there is no estimator {name!r}: choose among {known}")
        if self.primary not in self.estimators:
            raise InvalidInput(f"{self.primary!r} decides but is not computed: add it to the estimators")
        check_level(self.level)
        finite(
            "margin", self.margin, low=0.0, high=1e6, remedy="give the smallest gain that is worth a change"
        )
        if self.wtp_usd is not None:
            finite(
                "wtp", self.wtp_usd, low=1e-12, high=1e9, remedy="give USD per point of quality, more than 0"
            )
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
        """What the verdict is about."""
        return "quality" if self.wtp_usd is None and not self.latency_weight else "utility"


def metrics_of(log: Log) -> tuple[str, ...]:
    """The columns of outcomes that the log has anywhere, `reward` first."""
    if not any(fact.judged for fact in log.facts):
        raise InvalidInput(
            f"{log.path} has no reward in any row, so nothing tells whether a policy is good: join "
            "feedback to it, "
            "or look at it with --descriptive"
        )
    found = ["reward"]
    found += ["cost_usd"] if any(f.mean_cost_usd == f.mean_cost_usd for f in log.facts) else []
    found += ["latency_s"] if any(f.mean_latency_s == f.mean_latency_s for f in log.facts) else []
    return tuple(found)


def model_of(settings: ReplaySettings, log: Log) -> Model:
    """The reward model that `auto` stands for: the log's own, else ridge where there is a context."""
    if settings.model != "auto":
        if settings.model == "column" and not log.has_predictions:
            raise InvalidInput(f"{log.path} has no column reward_predictions: choose another --model")
        return settings.model
    if log.has_predictions:
        return "column"
    return "ridge" if log.width or log.tasks else "mean"


def needs_contexts(settings: ReplaySettings, log: Log) -> bool:
    """Whether features or attributes have to be read for estimates."""
    own = model_of(settings, log) in ("ridge", "boosting")
    return own or any(by not in _SLICES for by in settings.by)
