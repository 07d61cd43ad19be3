"""Every estimator by the name that reports use, with its default hyper-parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from fairlead.experiments.ope import doubly_robust, importance
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.rejection import replay
from fairlead.experiments.ope.terms import Terms

Estimator = Callable[[LoggedBatch], Terms]

# Fixed defaults, so that a report does not depend on a tuning run; `tuning` chooses from the log instead. A
# weight of 10 lets one decision speak for ten; .1 bends only weights that are far above that.
DEFAULT_LAMBDA: Final = 10.0
DEFAULT_SUB_GAUSSIAN_LAMBDA: Final = 0.1

WITHOUT_MODEL: Final[Mapping[str, Estimator]] = {
    "on-policy": importance.on_policy,
    "ips": importance.ips,
    "clipped-ips": partial(importance.clipped_ips, lam=DEFAULT_LAMBDA),
    "snips": importance.snips,
    "sub-gaussian-ips": partial(importance.sub_gaussian_ips, lam=DEFAULT_SUB_GAUSSIAN_LAMBDA),
    "replay": replay,
}
WITH_MODEL: Final[Mapping[str, Estimator]] = {
    "dm": doubly_robust.dm,
    "dr": doubly_robust.dr,
    "clipped-dr": partial(doubly_robust.clipped_dr, lam=DEFAULT_LAMBDA),
    "sndr": doubly_robust.sndr,
    "switch-dr": partial(doubly_robust.switch_dr, lam=DEFAULT_LAMBDA),
    "shrunk-dr": partial(doubly_robust.shrunk_dr, lam=DEFAULT_LAMBDA),
    "sub-gaussian-dr": partial(doubly_robust.sub_gaussian_dr, lam=DEFAULT_SUB_GAUSSIAN_LAMBDA),
}
ESTIMATORS: Final[Mapping[str, Estimator]] = {**WITHOUT_MODEL, **WITH_MODEL}
