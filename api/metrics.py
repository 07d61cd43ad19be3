"""Metrics for Prometheus: base units, one registry per application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.engine.engine import Engine
from api.guard import Load
from api.store.writer import Writer

LATENCY_BUCKETS_S: Final = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip


class Metrics:
    """What is counted as it happens; the rest is read off the engine when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "fairlead_http_requests_total",
            "Requests by address, method and status.",
            ["path", "method", "status"],
            registry=self.registry,
        )
        self.request_s = Histogram(
            "fairlead_http_request_duration_seconds",
            "Time from the headers of a request to its answer.",
            ["path"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.stage_s = Histogram(
            "fairlead_stage_duration_seconds",
            "Time of each stage: parse, decide, encode, commit (a group of events) and answer.",
            ["stage"],
            buckets=(0.00001, 0.00002, 0.00005, 0.0001, 0.0002, *LATENCY_BUCKETS_S),
            registry=self.registry,
        )
        self.commit_rows = Histogram(
            "fairlead_commit_events",
            "Events in one commit.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000),
            registry=self.registry,
        )
        self._paths: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def observe(self, scope: Any, status: int, seconds: float) -> None:
        """One request was answered."""
        path = getattr(scope.get("route"), "path", "unmatched")
        # Methods that nobody declared are many, and whoever sends them can make up more.
        method = scope["method"] if path != "unmatched" else "any"
        known = self._paths.get((path, method, status))
        if known is None:
            counter = self.requests.labels(path=path, method=method, status=str(status))
            known = self._paths[path, method, status] = (counter, self.request_s.labels(path=path))
        known[0].inc()
        known[1].observe(seconds)

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
        depth.add_metric(["parked"], engine.fold.parked_rows)
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
            opened.add_metric([name], len(served.open))
            broken.add_metric([name], float(served.broken is not None))
        yield from counters.values()
        yield from (spent, price, budget, opened, broken)


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
