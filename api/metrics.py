"""Metrics for Prometheus: base units, one registry per application."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlead.api.http.middleware import Load
from fairlead.api.state.follower import Engine
from fairlead.api.store.writer import Writer

BUCKETS_S: Final = (
    0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
    1.0, 2.0, 5.0, 10.0,
)  # fmt: skip


_STATUSES: Final = {status: str(status) for status in range(100, 600)}


class Durations(Collector):
    """A histogram of seconds by one label, for what happens several times in every request.

    The histograms of the client library take a lock and look through the buckets one by one, which took
    as long as parsing the request. All that is counted here is counted in the event loop's thread.
    """

    def __init__(self, name: str, told: str, label: str) -> None:
        self._name, self._told, self._label = name, told, label
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def timed(self, value: str, seconds: float) -> None:
        """It took so long once more."""
        counts = self._counts.get(value)
        if counts is None:
            counts = self._counts[value] = [0] * (len(BUCKETS_S) + 1)
            self._sums[value] = 0.0
        counts[bisect_left(BUCKETS_S, seconds)] += 1
        self._sums[value] += seconds

    def collect(self) -> Iterator[Metric]:
        """The histogram as it is now."""
        family = HistogramMetricFamily(self._name, self._told, labels=[self._label])
        limits = [*map(str, BUCKETS_S), "+Inf"]
        for value, counts in sorted(self._counts.items()):
            buckets = list(zip(limits, map(float, accumulate(counts)), strict=True))
            family.add_metric([value], buckets, self._sums[value])
        yield family


class Counts(Collector):
    """A counter by several labels, likewise."""

    def __init__(self, name: str, told: str, labels: Sequence[str]) -> None:
        self._name, self._told, self._labels = name, told, labels
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, values: tuple[str, ...]) -> None:
        """It happened once more."""
        self._counts[values] = self._counts.get(values, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """The counts as they are now."""
        family = CounterMetricFamily(self._name, self._told, labels=self._labels)
        for values, count in sorted(self._counts.items()):
            family.add_metric(values, count)
        yield family


class Metrics:
    """What is counted as it happens; the rest is read off the engine when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counts(
            "fairlead_http_requests",
            "Requests by address, method and status.",
            ("path", "method", "status"),
        )
        self.request_s = Durations(
            "fairlead_http_request_duration_seconds",
            "Time from the headers of a request to its answer.",
            "path",
        )
        self.stages = Durations(
            "fairlead_stage_duration_seconds",
            "Time of each stage: parse, decide, encode, wait (for a commit), commit (of a group), answer.",
            "stage",
        )
        self.registry.register(self.requests)
        self.registry.register(self.request_s)
        self.registry.register(self.stages)
        self.commit_rows = Histogram(
            "fairlead_commit_events",
            "Events in one commit.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000),
            registry=self.registry,
        )

    def observe(self, scope: Any, status: int, seconds: float) -> None:
        """One request was answered."""
        path = getattr(scope.get("route"), "path", "unmatched")
        # Methods that nobody declared are many, and whoever sends them can make up more.
        method = scope["method"] if path != "unmatched" else "any"
        self.requests.add((path, method, _STATUSES[status]))
        self.request_s.timed(path, seconds)

    def refused(self) -> None:
        """One request was refused before anything was known of it."""
        self.requests.add(("unmatched", "any", "503"))

    def text(self) -> bytes:
        """Everything in the format of Prometheus."""
        return generate_latest(self.registry)


class EngineCollector(Collector):
    """What is read off the engine, the writer and the load at the time of asking."""

    def __init__(self, engine: Engine, writer: Writer, load: Load) -> None:
        self._engine, self._writer, self._load = engine, writer, load

    def describe(self) -> list[Metric]:
        """Nothing beforehand: names do not collide, and the engine may not have started."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        yield from self._process()
        yield from self._learning()
        yield from self._routes()

    def _process(self) -> Iterator[Metric]:
        engine = self._engine
        for name, told, value in (
            ("fairlead_ready", "1 where decisions come from the learned state.", float(engine.ready)),
            ("fairlead_state_age_seconds", "Age of the state that decisions come from.", engine.age_s()),
            ("fairlead_log_seq", "Place in the log up to which the state has learned.", engine.fold.seq),
            ("fairlead_rebuild_duration_seconds", "Time that the last rebuild took.", engine.rebuild_s),
            ("fairlead_requests_in_flight", "Requests being answered.", self._load.requests),
            ("fairlead_writer_failing", "1 where the last commit failed.", self._writer.failing is not None),
        ):
            yield GaugeMetricFamily(name, told, value=float(value))
        depth = GaugeMetricFamily("fairlead_queue_depth", "Events that wait, by queue.", labels=["queue"])
        depth.add_metric(["write"], self._writer.depth)
        depth.add_metric(["fold"], engine.lag)
        depth.add_metric(["parked"], len(engine.fold.pending))
        yield depth
        yield CounterMetricFamily(
            "fairlead_folded_events", "Events folded since the start.", value=engine.folded
        )
        yield CounterMetricFamily(
            "fairlead_fold_seconds", "Time spent folding since the start.", value=engine.fold_s
        )

    def _learning(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "fairlead_events",
            "Events of the whole log by kind and what became of them.",
            labels=["kind", "state"],
        )
        for (kind, state), count in sorted(self._engine.fold.counts.items()):
            events.add_metric([kind, state], count)
        yield events
        faults = CounterMetricFamily(
            "fairlead_routing_faults",
            "Faults inside that the default provider answered for.",
            labels=["route", "fault"],
        )
        for (route, fault), count in sorted(self._engine.faults.items()):
            faults.add_metric([route, fault], count)
        yield faults

    def _routes(self) -> Iterator[Metric]:
        def gauge(name: str, told: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(name, told, labels=["route"])

        counters = {
            name: CounterMetricFamily(name, told, labels=["route"])
            for name, told in (
                ("fairlead_decisions", "Decisions of the whole log."),
                ("fairlead_fallback_decisions", "Decisions that the default provider answered."),
                ("fairlead_explored_decisions", "Decisions for another provider than the best expected."),
                ("fairlead_drift_alarms", "Providers found to have changed."),
            )
        }
        spent = gauge("fairlead_spent_usd", "Money spent, as far as outcomes said; corrections can lower it.")
        price = gauge("fairlead_shadow_price", "Quality that one USD must bring.")
        budget = gauge("fairlead_budget_usd_per_request", "What one request may cost on average now.")
        opened = gauge("fairlead_open_decisions", "Decisions that something may still come of.")
        broken = gauge("fairlead_route_broken", "1 where the router is left out and the default answers.")
        for name, served in sorted(self._engine.fold.routes.items()):
            told = served.router.summary()
            for metric, value in zip(
                counters.values(),
                (served.decisions, served.fallbacks, served.explored, len(served.router.alarms)),
                strict=True,
            ):
                metric.add_metric([name], value)
            spent.add_metric([name], served.spent_usd)
            price.add_metric([name], _number(told["shadow_price"]))
            if told["target_usd"] is not None:
                budget.add_metric([name], _number(told["target_usd"]))
            opened.add_metric([name], len(served.router.open_decisions()))
            broken.add_metric([name], float(served.broken is not None))
        yield from counters.values()
        yield from (spent, price, budget, opened, broken)


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
