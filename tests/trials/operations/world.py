"""A simulated world: providers that fail, slow down and charge as stated, and the requests they serve.

Everything random of a request is drawn beforehand, for every provider, from the seed alone. So two routers,
or the same one with and without a fault, meet the same requests and would get the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead import Context, Prices, Provider
from fairlead.experiments.baselines.frontier import Hull, best_fixed_mix

_FAILED_AFTER_S: Final = 0.05
LIST: Final = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0)
"""What an endpoint charges if nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where a world is: ``request`` is the number of the request, counted from 0, ``at_s`` its time."""

    request: int
    at_s: float


Course = float | Callable[[Moment], float]
"""A quantity that is constant, or a function of the moment."""


def at(course: Course, moment: Moment) -> float:
    """Evaluate a course."""
    return course(moment) if callable(course) else course


def between(start: int, stop: int, *, inside: float, outside: float) -> Course:
    """Make a course with one value for the requests from ``start`` to before ``stop``, and one otherwise."""
    return lambda moment: inside if start <= moment.request < stop else outside


def between_s(start_s: float, stop_s: float, *, inside: float, outside: float) -> Course:
    """Make a course with one value from one time to before another, and one otherwise."""
    return lambda moment: inside if start_s <= moment.at_s < stop_s else outside


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A provider as it really is.

    ``quality`` is the mean reward of its answers, ``by_task`` overrides it. ``failure`` is the probability
    that a call fails. ``latency_s`` is the mean of a lognormal with ``latency_spread``. ``prices`` is what it
    really charges; ``listed`` is what the route's declaration says, by default the truth.
    """

    name: str
    quality: Course
    by_task: Mapping[str, float] = field(default_factory=dict)
    failure: Course = 0.0
    latency_s: Course = 1.0
    latency_spread: float = 0.3
    prices: Prices = LIST
    listed: Prices | str | None = "as charged"
    output_tokens: float = 300.0

    def provider(self) -> Provider:
        """Return its declaration."""
        return Provider(name=self.name, prices=self.prices if isinstance(self.listed, str) else self.listed)

    def mean_quality(self, moment: Moment, task: str | None) -> float:
        """Return the mean reward of an answer, if there is one."""
        return self.by_task[task] if task and task in self.by_task else at(self.quality, moment)

    def worth(self, moment: Moment, task: str | None) -> float:
        """Return the mean reward of a call: a failed one is worth nothing."""
        return self.mean_quality(moment, task) * (1.0 - at(self.failure, moment))


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a call really took; ``quality`` is the reward of the answer, None if there is none."""

    provider: str
    status: str
    quality: float | None
    cost_usd: float
    latency_s: float
    input_tokens: int
    output_tokens: int


class World:
    """Endpoints, and the requests number 0 to ``requests`` − 1 with all that is random about them.

    ``tasks`` are drawn with equal shares. With ``embedding_width``, each request has an embedding: a centre
    of its task, plus noise. ``spread`` is the standard deviation of rewards, ``binary`` makes them 0 or 1.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        requests: int,
        seed: int,
        tasks: Sequence[str] = (),
        embedding_width: int = 0,
        spread: float = 0.15,
        binary: bool = False,
    ) -> None:
        self.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self.names, self.tasks, self.requests = tuple(self.endpoints), tuple(tasks), requests
        self.seed, self.spread, self.binary = seed, spread, binary
        rng = np.random.default_rng([seed, 7])
        self.draws: NDArray[np.float64] = rng.random(requests)
        self._task = rng.integers(0, max(len(tasks), 1), requests)
        self._input_tokens = rng.lognormal(np.log(400.0), 0.5, requests).astype(int) + 1
        self._chance = rng.random((requests, len(self.endpoints), 2))
        self._normal = rng.standard_normal((requests, len(self.endpoints), 2))
        self._centres = rng.standard_normal((max(len(tasks), 1), embedding_width))

    def providers(self) -> tuple[Provider, ...]:
        """Return the declarations of all endpoints."""
        return tuple(endpoint.provider() for endpoint in self.endpoints.values())

    def task(self, request: int) -> str | None:
        """Return a request's task."""
        return self.tasks[self._task[request]] if self.tasks else None

    def embedding(self, request: int) -> NDArray[np.float64] | None:
        """Return a request's embedding, of length 1; None if the world has none."""
        centre = self._centres[self._task[request]]
        if not len(centre):
            return None
        noise = np.random.default_rng([self.seed, 13, request]).standard_normal(len(centre))
        vector = centre + noise
        return np.asarray(vector / np.linalg.norm(vector))

    def context(self, request: int) -> Context:
        """Return what is known of a request before the choice."""
        return Context(
            task=self.task(request),
            embedding=self.embedding(request),
            input_tokens=float(self._input_tokens[request]),
        )

    def input_tokens(self, request: int) -> int:
        """Return a request's length."""
        return int(self._input_tokens[request])

    def call(self, name: str, moment: Moment) -> Call:
        """Return what a provider makes of a request; a failed call is over at once and costs nothing."""
        endpoint, j = self.endpoints[name], self.names.index(name)
        chance, normal = self._chance[moment.request, j], self._normal[moment.request, j]
        if chance[0] < at(endpoint.failure, moment):
            return Call(
                provider=name,
                status="error",
                quality=None,
                cost_usd=0.0,
                latency_s=_FAILED_AFTER_S,
                input_tokens=0,
                output_tokens=0,
            )
        input_tokens = self.input_tokens(moment.request)
        output_tokens = int(endpoint.output_tokens * np.exp(0.4 * normal[0] - 0.08)) + 1
        spread = endpoint.latency_spread
        return Call(
            provider=name,
            status="ok",
            quality=self._reward(endpoint.mean_quality(moment, self.task(moment.request)), chance[1]),
            cost_usd=endpoint.prices.cost_usd(input_tokens=input_tokens, output_tokens=output_tokens),
            latency_s=at(endpoint.latency_s, moment) * float(np.exp(spread * normal[1] - spread**2 / 2.0)),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )

    def reward_anew(self, name: str, request: int) -> float:
        """Return another reward that a provider's answer might have had, independent of the one it has."""
        moment = Moment(request=request, at_s=float(request))
        mean = self.endpoints[name].mean_quality(moment, self.task(request))
        return self._reward(mean, float(np.random.default_rng([self.seed, 19, request]).random()))

    def _reward(self, mean: float, chance: float) -> float:
        if self.binary:
            return float(chance < mean)
        # Uniform about the mean, and narrower near 0 and 1, so that the mean is exactly what was stated.
        half = min(self.spread * 3.0**0.5, mean, 1.0 - mean)
        return float(mean + half * (2.0 * chance - 1.0))

    def mean_costs(self) -> NDArray[np.float64]:
        """Return the mean USD of a successful call of each provider, shape (n_providers,)."""
        tokens = float(self._input_tokens.mean())
        return np.array(
            [
                endpoint.prices.cost_usd(input_tokens=tokens, output_tokens=endpoint.output_tokens)
                for endpoint in self.endpoints.values()
            ]
        )

    def best_mix(self) -> Hull:
        """Return the best fixed mix of the providers as they are at the start, without failures."""
        start = Moment(request=0, at_s=0.0)
        tasks = self.tasks or (None,)
        quality = [
            float(np.mean([endpoint.mean_quality(start, task) for task in tasks]))
            for endpoint in self.endpoints.values()
        ]
        return best_fixed_mix(self.mean_costs(), quality)
