"""Metrics for Prometheus: base units, one registry per application."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlead.api.state.follower import Engine
from fairlead.api.store.writer import Writer

BUCKETS_S: Final = (
    0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
    1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
STAGES: Final = ("parse", "decide", "encode", "wait", "commit", "answer")


@dataclass(slots=True)
class InFlight:
    """The number of requests that are being answered."""

    requests: int = 0


class Metrics:
    """Metrics that are counted as events happen; the rest is read from the engine on each scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "fairlead_http_requests",
            "Requests by address, method and status.",
            ("path", "method", "status"),
            registry=self.registry,
        )
        self._request_s = Histogram(
            "fairlead_http_request_duration_seconds",
            "Time from the headers of a request to its answer.",
            ("path",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        stages = Histogram(
            "fairlead_stage_duration_seconds",
            "Time of each stage: parse, decide, encode, wait (for a commit), commit (of a group), answer.",
            ("stage",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.stages: dict[str, Histogram] = {name: stages.labels(name) for name in STAGES}
        self.commit_rows = Histogram(
            "fairlead_commit_events",
            "Events in one commit.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000),
            registry=self.registry,
        )
        # Looking up a child by its labels takes longer than counting.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, scope: Any, status: int, seconds: float) -> None:
        """Count one answered request."""
        path = getattr(scope.get("route"), "path", "unmatched")
        # There are many undeclared methods, and clients can make up more.
        self._count((path, scope["method"] if path != "unmatched" else "any", status), seconds)

    def observe_commit(self, seconds: float, rows: int) -> None:
        """Count one commit of a group of events."""
        self.stages["commit"].observe(seconds)
        self.commit_rows.observe(rows)

    def refused(self) -> None:
        """Count one request that the server refused before reading it."""
        self._requests.labels("unmatched", "any", "503").inc()

    def _count(self, labels: tuple[str, str, int], seconds: float) -> None:
        children = self._children.get(labels)
        if children is None:
            path, method, status = labels
            children = (self._requests.labels(path, method, str(status)), self._request_s.labels(path))
            self._children[labels] = children
        children[0].inc()
        children[1].observe(seconds)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class EngineCollector(Collector):
    """Metrics that are read from the engine and the writer on each scrape."""

    def __init__(self, engine: Engine, writer: Writer, in_flight: InFlight) -> None:
        self._engine, self._writer, self._in_flight = engine, writer, in_flight

    def describe(self) -> list[Metric]:
        """Nothing in advance: names do not collide, and the engine may not have started."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        yield from self._process()
        yield from self._learning()
        yield from self._routes()

    def _process(self) -> Iterator[Metric]:
        engine = self._engine
        for name, text, value in (
            ("fairlead_ready", "1 if decisions come from the learned state.", float(engine.ready)),
            ("fairlead_state_age_seconds", "Age of the state that decisions come from.", engine.age_s()),
            ("fairlead_log_seq", "Position in the log up to which the state has learned.", engine.fold.seq),
            ("fairlead_rebuild_duration_seconds", "Time that the last rebuild took.", engine.rebuild_s),
            ("fairlead_requests_in_flight", "Requests being answered.", self._in_flight.requests),
            ("fairlead_writer_failing", "1 if the last commit failed.", self._writer.failing is not None),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))
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
            "Events of the whole log by kind and result.",
            labels=["kind", "state"],
        )
        for (kind, state), count in sorted(self._engine.fold.counts.items()):
            events.add_metric([kind, state], count)
        yield events
        faults = CounterMetricFamily(
            "fairlead_routing_faults",
            "Internal faults after which the default provider was the answer.",
            labels=["route", "fault"],
        )
        for (route, fault), count in sorted(self._engine.faults.items()):
            faults.add_metric([route, fault], count)
        yield faults

    def _routes(self) -> Iterator[Metric]:
        def gauge(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(name, text, labels=["route"])

        counters = {
            name: CounterMetricFamily(name, text, labels=["route"])
            for name, text in (
                ("fairlead_decisions", "Decisions of the whole log."),
                ("fairlead_fallback_decisions", "Decisions answered with the default provider."),
                ("fairlead_explored_decisions", "Decisions for another provider than the best expected."),
                ("fairlead_drift_alarms", "Drift alarms: providers that have changed."),
            )
        }
        spent = gauge("fairlead_spent_usd", "Money spent, as outcomes reported it; corrections can lower it.")
        price = gauge("fairlead_shadow_price", "Quality that one USD must bring.")
        budget = gauge("fairlead_budget_usd_per_request", "What one request may cost on average now.")
        opened = gauge("fairlead_open_decisions", "Decisions that still accept outcomes and feedback.")
        broken = gauge("fairlead_route_broken", "1 if the router is broken and the default provider answers.")
        for name, served in sorted(self._engine.fold.routes.items()):
            summary = served.router.summary()
            for metric, value in zip(
                counters.values(),
                (served.decisions, served.fallbacks, served.explored, len(served.router.alarms)),
                strict=True,
            ):
                metric.add_metric([name], value)
            spent.add_metric([name], served.spent_usd)
            price.add_metric([name], _number(summary["shadow_price"]))
            if summary["target_usd"] is not None:
                budget.add_metric([name], _number(summary["target_usd"]))
            opened.add_metric([name], len(served.router.open_decisions()))
            broken.add_metric([name], float(served.broken is not None))
        yield from counters.values()
        yield from (spent, price, budget, opened, broken)


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
