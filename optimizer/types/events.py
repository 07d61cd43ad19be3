"""Requests and events: the context, the decision, its outcome and its feedback."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput, check_amounts, finite
from fairlead.optimizer.types.arrays import FloatArray
from fairlead.optimizer.types.evidence import Evidence
from fairlead.optimizer.types.route import MAX_COST_USD, Route

MAX_LATENCY_S: Final = 1e6
MAX_TOKENS: Final = 10**9
LETTERS_PER_TOKEN: Final = 4.0
TOKENS_PER_FURTHER_BYTE: Final = 0.375
"""What a character outside ASCII counts more for each byte of UTF-8 beyond its first."""

LATEST_S: Final = 1e12

_NO_ATTRIBUTES: Mapping[str, str | float | bool] = {}
_NONE_ON_TRIAL: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """What is known about a request before the choice.

    ``features`` bypasses the featurisers with a vector of their width. ``terms`` are those of the text,
    hashed (`TermCounter.count`): from them a router learns features of texts by itself.

    >>> Context(text="What is the capital of France?", task="geography").tokens
    7.5
    >>> Context(text="法国的首都是哪里？").tokens
    9.0
    >>> Context(input_tokens=12, attributes={"plan": "free"}).tokens
    12.0
    """

    text: str | None = None
    task: str | None = None
    attributes: Mapping[str, str | float | bool] = field(default_factory=lambda: _NO_ATTRIBUTES)
    embedding: NDArray[np.float64] | None = None
    features: FloatArray | None = None
    input_tokens: float | None = None
    terms: bytes | None = None

    def __post_init__(self) -> None:
        if self.input_tokens is not None:
            check_amounts(self, "input_tokens", high=MAX_TOKENS, remedy="give a count of tokens")

    @property
    def tokens(self) -> float:
        """Input tokens as stated, or else an estimate by the scripts of the text.

        A quarter of a token for a character of ASCII, and three eighths more for each further byte that it
        takes in UTF-8: 0.6 for Cyrillic or Arabic, 1 for Chinese, Japanese, Korean or Thai.
        """
        if self.input_tokens is not None:
            return float(self.input_tokens)
        text = self.text or ""
        tokens = len(text) / LETTERS_PER_TOKEN
        if not text.isascii():
            further = len(text.encode("utf-8", "surrogatepass")) - len(text)
            tokens += further * TOKENS_PER_FURTHER_BYTE
        return tokens


def check_tokens_and_time(tokens: float, at_s: float | None) -> None:
    """Raise `InvalidInput` for a length or a time that no request has."""
    try:
        fits = 0 <= tokens <= MAX_TOKENS and (at_s is None or 0 <= at_s <= LATEST_S)
    except TypeError:
        fits = False
    if fits:
        return
    finite("input_tokens", tokens, low=0, high=MAX_TOKENS, remedy="give a count of tokens")
    if at_s is not None:
        finite("at_s", at_s, low=0, high=LATEST_S, remedy="give seconds since an epoch, or nothing")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Means and standard deviations predicted for one provider and one request.

    See `Decision.candidates`.
    """

    quality: float
    quality_sd: float
    cost_usd: float
    cost_usd_sd: float
    latency_s: float | None
    failure: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One provider as seen by one decision; ``reason`` says why it was ineligible, or only on trial.

    See `Decision.candidates`.
    """

    provider: str
    propensity: float
    eligible: bool
    reason: str | None
    expected: Expected


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """One logged choice with the full distribution that it was drawn from.

    Arrays run over ``providers`` in the route's order. ``seq`` numbers the decisions and configurations
    of a route from 0 on: what is learned ages by it, and a change of a provider is dated by it.
    ``features`` has the encoder's width.

    >>> from fairlead import Constraints, Encoder, Provider, Route, Router, TaskLabel
    >>> providers = (Provider(name="local/small"), Provider(name="lab/large"))
    >>> route = Route(name="chat", providers=providers, constraints=Constraints(deny=("lab/*",)))
    >>> router = Router(route, encoder=Encoder([TaskLabel(width=8)]))
    >>> decision = router.decide(Context(task="sql"), decision_id="d1", draw=0.3)
    >>> decision.selected, decision.propensity
    ('local/small', 1.0)
    >>> [(c.provider, c.eligible, c.expected.quality) for c in decision.candidates]
    [('local/small', True, 0.5), ('lab/large', False, 0.5)]
    """

    id: str
    seq: int
    route: str
    providers: tuple[str, ...]
    probabilities: FloatArray
    selected: str
    features: FloatArray
    input_tokens: float
    expected: FloatArray
    """Shape (6, n_providers): quality, its sd, cost_usd, its sd, latency_s (NaN if unknown), and the
    share of calls that fail."""
    ineligible: Mapping[str, str]
    shadow_price: float
    """Quality that one USD must bring; 0 if neither budget nor willingness to pay binds."""
    floor: FloatArray
    encoder_version: str
    model_version: int
    at_s: float | None = None
    task: str | None = None
    fallback_used: str | None = None
    """Why the route's default was answered instead of a routed choice; None for a routed one."""
    on_trial: Mapping[str, str] = field(default_factory=lambda: _NONE_ON_TRIAL)
    """Why a provider got no more than a quota, by name."""
    relaxed: tuple[str, ...] = ()
    """The limits (`Constraints`) that the selected provider is not believed to meet."""
    latency_sd_s: FloatArray | None = None
    """Standard deviation of each provider's latency, NaN if fewer than two are known; not logged."""
    terms: bytes | None = None
    """The terms of the request's text, hashed with a key (`TermCounter.count`); None without a text."""

    @property
    def propensity(self) -> float:
        """Probability with which the selected provider was drawn."""
        return float(self.probabilities[self.providers.index(self.selected)])

    @property
    def expected_usd(self) -> float:
        """What the call is expected to cost, 0 if nothing is known of it."""
        cost = float(self.expected[2, self.providers.index(self.selected)])
        return 0.0 if math.isnan(cost) else cost

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The distribution and the predictions behind it, provider by provider."""
        return tuple(
            Candidate(
                provider=name,
                propensity=propensity,
                eligible=name not in self.ineligible,
                reason=self.ineligible.get(name) or self.on_trial.get(name),
                expected=Expected(
                    quality=quality,
                    quality_sd=quality_sd,
                    cost_usd=cost,
                    cost_usd_sd=cost_sd,
                    latency_s=None if math.isnan(latency) else latency,
                    failure=failure,
                ),
            )
            for name, propensity, (quality, quality_sd, cost, cost_sd, latency, failure) in zip(
                self.providers, self.probabilities.tolist(), self.expected.T.tolist(), strict=True
            )
        )


_AMOUNTS: Final = (
    ("cost_usd", MAX_COST_USD, "give USD of at least 0, or nothing"),
    ("latency_s", MAX_LATENCY_S, "give seconds of at least 0"),
    ("input_tokens", MAX_TOKENS, "give a count of tokens"),
    ("output_tokens", MAX_TOKENS, "give a count of tokens"),
    ("cached_tokens", MAX_TOKENS, "give a count of tokens"),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What serving a request actually took; the latest ``revision`` for a decision is in force.

    ``status`` is ok, error, timeout or refused. Without ``cost_usd``, the usage is priced by the price list
    that was in force at the decision.

    >>> outcome = Outcome(decision_id="d1", served_provider="small", output_tokens=50, latency_s=0.8)
    >>> outcome.status, outcome.cost_usd
    ('ok', None)
    >>> Outcome(decision_id="d1", served_provider="small", latency_s=-1)
    Traceback (most recent call last):
    fairlead.optimizer.errors.InvalidInput: latency_s is -1, outside [0, 1e+06]: give seconds of at least 0
    """

    decision_id: str
    served_provider: str
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    latency_s: float | None = None
    status: str = "ok"
    revision: int = 0

    def __post_init__(self) -> None:
        # One loop without calls: every outcome that is logged or folded passes here.
        for name, high, remedy in _AMOUNTS:
            value = getattr(self, name)
            if value is not None and not (type(value) in (float, int) and 0 <= value <= high):
                finite(name, value, low=0, high=high, remedy=remedy)
        if self.status not in ("ok", "error", "timeout", "refused"):
            raise InvalidInput(f"status is {self.status!r}: give one of ok, error, timeout, refused")


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """A value of one metric for a decision; it may come late, never or twice.

    The latest ``revision`` for one (decision, metric, source) is in force; None as ``value`` withdraws it.
    Values are in the range that the route declares for the metric.

    >>> stars = Feedback(decision_id="d1", value=4.0, metric="stars", source="user")
    >>> withdrawn = Feedback(decision_id="d1", value=None, metric="stars", source="user", revision=1)
    >>> stars.revision < withdrawn.revision
    True
    """

    decision_id: str
    value: float | None
    metric: str = "quality"
    source: str = "code"
    revision: int = 0

    def __post_init__(self) -> None:
        if self.value is not None and not (type(self.value) is float and math.isfinite(self.value)):
            finite(self.metric, self.value, remedy="give a finite number, or None to take the feedback back")


WATCHED: Final = ("quality", "tokens", "cost", "latency", "failure")
"""The quantities in which a change of a provider is noticed."""


@dataclass(frozen=True, kw_only=True)
class DriftAlarm:
    """A provider changed: what was learned from decisions before ``since_seq`` counts for little from now on.

    ``quantity`` is ``quality``, ``tokens`` (the length of answers), ``cost``, ``latency`` or ``failure``.
    ``before`` and ``after`` are its means before the change and since: of rewards, of the share of calls
    that fail, and geometric ones of output tokens, of seconds, and of USD over what the price list says
    (of USD without a list). ``at_seq`` is the decision that raised the alarm, and ``task`` names the task, if
    it was seen in that of one task. A router raises alarms itself; `Router.learn` takes those of others, too.

    >>> alarm = DriftAlarm(
    ...     provider="small", quantity="quality", since_seq=80, at_seq=119, before=0.0, after=-0.4
    ... )
    >>> alarm.at_seq - alarm.since_seq
    39
    """

    provider: str
    quantity: str
    since_seq: int
    at_seq: int
    before: float
    after: float
    task: str | None = None

    def __post_init__(self) -> None:
        if self.quantity not in WATCHED:
            raise InvalidInput(
                f"drift alarm is about {self.quantity!r}, which is not watched: "
                f"give one of {', '.join(WATCHED)}"
            )
        if not 0 <= self.since_seq <= self.at_seq:
            raise InvalidInput(
                f"drift alarm dates a change at decision {self.since_seq} and was raised at "
                f"{self.at_seq}: give an earlier one of at least 0"
            )

    @property
    def sentence(self) -> str:
        """The alarm in words."""
        where = "" if self.task is None else f" in {self.task}"
        return (
            f"{self.quantity} of {self.provider}{where} has changed from {self.before:.3g} to "
            f"{self.after:.3g} since decision {self.since_seq}"
        )


@dataclass(frozen=True, kw_only=True)
class ImplausibleOutcome:
    """A kind of outcome in quarantine: accepted and logged, and not learned from until more of its kind come.

    ``quantity`` is ``cost`` (USD), ``latency`` (seconds) or ``prices``: of those not single outcomes are
    in doubt, but the list by which they are expected. ``value`` and ``expected`` are those of the latest,
    and ``count`` says how many there were. ``likely_error`` names an error of unit that explains it, or
    is empty. See `Router.quarantine`.

    >>> from fairlead import Context, Outcome, Prices, Provider, Router
    >>> prices = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0)
    >>> router = Router(Route(name="chat", providers=(Provider(name="small", prices=prices),)))
    >>> router.learn(router.decide(Context(features=np.zeros(0)), decision_id="d1", draw=0.5))
    >>> router.learn(Outcome(decision_id="d1", served_provider="small", output_tokens=300, cost_usd=0.12))
    >>> (doubt,) = router.quarantine
    >>> doubt.quantity, doubt.value, round(doubt.expected, 4), doubt.likely_error
    ('cost', 0.12, 0.0012, 'cents for dollars')
    """

    provider: str
    quantity: str
    value: float
    expected: float
    likely_error: str
    decision_id: str
    at_seq: int
    count: int = 1

    @property
    def kind(self) -> tuple[str, str, str]:
        """Provider, quantity and likely error, by which doubts are counted together."""
        return self.provider, self.quantity, self.likely_error


@dataclass(frozen=True, kw_only=True)
class CircuitChanged:
    """The circuit of a provider is now ``closed``, ``open`` or ``half_open``.

    ``at_seq`` is the decision whose outcome brought it about; ``failures`` counts those in a row behind it.
    A router raises these itself, since circuits follow from outcomes; `Router.learn` notes those of others.

    >>> CircuitChanged(provider="small", state="open", at_seq=83, failures=3).state
    'open'
    """

    provider: str
    state: str
    at_seq: int
    failures: int

    def __post_init__(self) -> None:
        if self.state not in ("closed", "open", "half_open"):
            raise InvalidInput(f"circuit is {self.state!r}: give one of closed, open, half_open")
        for name in ("at_seq", "failures"):
            finite(name, getattr(self, name), low=0, high=2**53, remedy="give a whole number, counted from 0")


@dataclass(frozen=True, kw_only=True)
class RouteChanged:
    """A configuration of the route: decisions from ``seq`` on are made under it.

    >>> from fairlead import Provider, Router
    >>> router = Router(Route(name="chat", providers=(Provider(name="small"),)))
    >>> providers = (Provider(name="small"), Provider(name="large"))
    >>> change = router.configure(Route(name="chat", providers=providers))
    >>> change.seq, len(router.route.providers)
    (0, 2)
    """

    seq: int
    route: Route

    def __post_init__(self) -> None:
        finite("seq", self.seq, low=0, high=2**53, remedy="give a seq, counted from 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderFitted:
    """Features of texts were learned anew: from here on, requests are encoded by these arrays.

    ``number`` counts the fits of a route from 1, so that of two processes that fitted at once the first is
    heard. ``texts`` says how many texts the route had seen by then. Without ``arrays`` nothing could be
    learned, for a ``reason``, and the encoder stays. See `Router.fit_text`.

    >>> EncoderFitted(number=1, texts=3, arrays={}, reason="3 different texts are too few").number
    1
    """

    number: int
    texts: int
    arrays: Mapping[str, NDArray[Any]]
    """Those of a `TextEncoder`, and ``carry``, which maps coordinates of the encoder before to its own."""
    reason: str = ""

    def __post_init__(self) -> None:
        finite("number", self.number, low=1, high=2**53, remedy="give the number of the fit, counted from 1")
        finite("texts", self.texts, low=0, high=2**53, remedy="give a count of texts")


Event = Decision | Outcome | Feedback | DriftAlarm | CircuitChanged | RouteChanged | Evidence | EncoderFitted
E = TypeVar("E", bound=Decision | Outcome | Feedback)


def new_decision(fields: Mapping[str, object]) -> Decision:
    """Make a decision of all the fields that are logged, in a third of the time that its constructor takes.

    A frozen dataclass sets its fields one by one, twenty of them in a decision.
    """
    decision = object.__new__(Decision)
    decision.__dict__.update(fields)
    return decision


def copy_with(event: E, **fields: object) -> E:
    """Copy an event with other values in some fields; unlike `replace` it does not check them.

    A fold copies three events a round, and takes a sixth longer with `replace`.
    """
    copy = object.__new__(type(event))
    copy.__dict__.update(event.__dict__, **fields)
    return copy
