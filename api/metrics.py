"""Metrics for Prometheus, in base units."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlead.api.state.follower import Engine
from fairlead.api.state.text_key import text_problem
from fairlead.api.store.writer import Writer
from fairlead.optimizer.selection.eligibility import LIMITS
from fairlead.optimizer.types.events import WATCHED

BUCKETS_S: Final = (
    0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
    1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
BUCKETS_ROWS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)
STAGES: Final = ("parse", "decide", "encode", "wait", "commit", "answer")


class Histogram:
    """Counts of values by bucket, and their sum; for one thread.

    Those of the client library take a lock and search the buckets one by one, which took 14 µs of a decision.

    >>> histogram = Histogram((1.0, 2.0))
    >>> histogram.observe(1.5)
    >>> histogram.buckets()
    [('1.0', 0.0), ('2.0', 1.0), ('+Inf', 1.0)]
    """

    def __init__(self, limits: Sequence[float] = BUCKETS_S) -> None:
        self.limits, self.counts, self.sum = limits, [0] * (len(limits) + 1), 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.limits, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return for each limit how many values were not above it."""
        names = [*map(str, self.limits), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


class Metrics(Collector):
    """What is counted as it happens; on each scrape the rest is read from the engine and the writer."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Number of requests that are being answered."""
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """Requests, by path, method and status."""
        self.request_s: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.stages = {stage: Histogram() for stage in STAGES}
        self.commit_rows = Histogram(BUCKETS_ROWS)
        self._engine: Engine | None = None
        self._writer: Writer | None = None

    def watch(self, engine: Engine, writer: Writer) -> None:
        """Read the rest from these."""
        self._engine, self._writer = engine, writer

    def observe(self, scope: Any, status: int, seconds: float) -> None:
        """Count one answered request."""
        path = getattr(scope.get("route"), "path", "unmatched")
        # There are many undeclared methods, and clients can make up more.
        self.requests[path, scope["method"] if path != "unmatched" else "any", status] += 1
        self.request_s[path].observe(seconds)

    def observe_commit(self, seconds: float, rows: int) -> None:
        """Count one commit of a group of events."""
        self.stages["commit"].observe(seconds)
        self.commit_rows.observe(rows)

    def refused(self) -> None:
        """Count one request that the server refused before reading it."""
        self.requests["unmatched", "any", 503] += 1

    def text(self, routes: Collection[str] | None = None) -> bytes:
        """Metrics in the text format of Prometheus; those of routes only for these, None for all."""
        registry = CollectorRegistry()
        registry.register(self if routes is None else _Limited(self, routes))
        return generate_latest(registry)

    def describe(self) -> list[Metric]:
        """Nothing in advance: names do not collide."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        yield from self._counted()
        if self._engine is not None and self._writer is not None:
            yield from _process(self._engine, self._writer, self.in_flight)
            yield from _learning(self._engine)
            yield from _routes(self._engine)
            yield from _budgets(self._engine)
            yield from _quarantine(self._engine)
            yield from _circuits(self._engine)
            yield _drift(self._engine)
            yield _relaxed(self._engine)
            yield from _texts(self._engine)

    def _counted(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "fairlead_http_requests",
            "Requests, by path, method and status.",
            labels=["path", "method", "status"],
        )
        for (path, method, status), count in sorted(self.requests.items()):
            requests.add_metric([path, method, str(status)], count)
        yield requests
        text = "Time from the headers of a request to its answer."
        yield _histogram("fairlead_http_request_duration_seconds", text, self.request_s, "path")
        text = "Time of each stage: parse, decide, encode, wait (for a commit), commit (of a group), answer."
        yield _histogram("fairlead_stage_duration_seconds", text, self.stages, "stage")
        yield _histogram("fairlead_commit_events", "Events in one commit.", {"": self.commit_rows})


class _Limited(Collector):
    """Metrics without those of other routes and of budgets that routes share."""

    def __init__(self, metrics: Collector, routes: Collection[str]) -> None:
        self._metrics, self._routes = metrics, frozenset(routes)

    def describe(self) -> list[Metric]:
        """Nothing in advance: names do not collide."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        for family in self._metrics.collect():
            family.samples = [
                sample
                for sample in family.samples
                if "route" not in sample.labels or sample.labels["route"] in self._routes
            ]
            yield family


def _histogram(name: str, text: str, histograms: Mapping[str, Histogram], *labels: str) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for value, histogram in sorted(histograms.items()):
        family.add_metric([value] if labels else [], histogram.buckets(), histogram.sum)
    return family


def _process(engine: Engine, writer: Writer, in_flight: int) -> Iterator[Metric]:
    for name, text, value in (
        ("fairlead_ready", "1 if decisions come from the learned state.", float(engine.ready)),
        ("fairlead_state_age_seconds", "Age of the state that decisions come from.", engine.age_s()),
        ("fairlead_log_seq", "Position in the log up to which the state has learned.", engine.fold.seq),
        ("fairlead_rebuild_duration_seconds", "Time that the last rebuild took.", engine.rebuild_s),
        ("fairlead_requests_in_flight", "Requests being answered.", in_flight),
        ("fairlead_writer_failing", "1 if the last commit failed.", writer.failing is not None),
    ):
        yield GaugeMetricFamily(name, text, value=float(value))
    depth = GaugeMetricFamily("fairlead_queue_depth", "Events that wait, by queue.", labels=["queue"])
    depth.add_metric(["write"], writer.depth)
    depth.add_metric(["fold"], engine.lag)
    depth.add_metric(["parked"], len(engine.fold.pending))
    yield depth
    yield CounterMetricFamily("fairlead_folded_events", "Events folded since the start.", value=engine.folded)
    yield CounterMetricFamily(
        "fairlead_fold_seconds", "Time spent folding since the start.", value=engine.fold_s
    )


def _learning(engine: Engine) -> Iterator[Metric]:
    events = CounterMetricFamily(
        "fairlead_events",
        "Events of the whole log, by kind and state.",
        labels=["kind", "state"],
    )
    for (kind, state), count in sorted(engine.fold.counts.items()):
        events.add_metric([kind, state], count)
    yield events
    faults = CounterMetricFamily(
        "fairlead_routing_faults",
        "Internal faults after which the answer was the default provider.",
        labels=["route", "fault"],
    )
    for (route, fault), count in sorted(engine.faults.items()):
        faults.add_metric([route, fault], count)
    yield faults


def _routes(engine: Engine) -> Iterator[Metric]:
    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, text, labels=["route"])

    counters = {
        name: CounterMetricFamily(name, text, labels=["route"])
        for name, text in (
            ("fairlead_decisions", "Decisions of the whole log."),
            ("fairlead_fallback_decisions", "Decisions answered with the default provider."),
            ("fairlead_explored_decisions", "Decisions for another provider than the best expected."),
        )
    }
    spent = gauge("fairlead_spent_usd", "Money spent, as outcomes reported it; corrections can lower it.")
    price = gauge("fairlead_shadow_price", "Quality that one USD must bring.")
    budget = gauge("fairlead_budget_usd_per_request", "What one request may cost on average now.")
    opened = gauge("fairlead_open_decisions", "Decisions that still accept outcomes and feedback.")
    lag = gauge("fairlead_fold_lag", "Events in the log that the route has not learned yet.")
    broken = gauge("fairlead_route_broken", "1 if the router is broken and the default provider answers.")
    for name, served in sorted(engine.fold.routes.items()):
        summary = served.router.summary()
        for metric, value in zip(
            counters.values(),
            (served.decisions, served.fallbacks, served.explored),
            strict=True,
        ):
            metric.add_metric([name], value)
        spent.add_metric([name], served.spent_usd)
        price.add_metric([name], cast(float, summary["shadow_price"]))
        if summary["target_usd"] is not None:
            budget.add_metric([name], cast(float, summary["target_usd"]))
        opened.add_metric([name], len(served.opened))
        lag.add_metric([name], engine.lag_of(served))
        broken.add_metric([name], float(served.broken is not None))
    yield from counters.values()
    yield from (spent, price, budget, opened, lag, broken)


_STATES: Final = {"closed": 0.0, "half_open": 1.0, "open": 2.0}


def _circuits(engine: Engine) -> Iterator[Metric]:
    labels = ["route", "provider"]
    state = GaugeMetricFamily(
        "fairlead_circuit_state", "Circuit of a provider: 0 closed, 1 half open, 2 open.", labels=labels
    )
    changes = CounterMetricFamily(
        "fairlead_circuit_changes", "Changes of the circuit of a provider.", labels=labels
    )
    for route, served in sorted(engine.fold.routes.items()):
        circuits, counts = served.router.circuits, served.router.circuit_change_counts
        for provider in served.router.route.providers:
            circuit = circuits.get(provider.name)
            state.add_metric([route, provider.name], _STATES[circuit.state if circuit else "closed"])
            changes.add_metric([route, provider.name], counts.get(provider.name, 0))
    yield from (state, changes)


def _drift(engine: Engine) -> Metric:
    counter = CounterMetricFamily(
        "fairlead_drift_alarms",
        "Drift alarms: providers that have changed in a quantity.",
        labels=["route", "provider", "quantity"],
    )
    for route, served in sorted(engine.fold.routes.items()):
        counts = Counter((alarm.provider, alarm.quantity) for alarm in served.router.alarms)
        for provider in served.router.route.providers:
            for quantity in WATCHED:
                counter.add_metric([route, provider.name, quantity], counts[provider.name, quantity])
    return counter


def _relaxed(engine: Engine) -> Metric:
    counter = CounterMetricFamily(
        "fairlead_relaxed_decisions",
        "Decisions whose provider was not believed to meet a limit.",
        labels=["route", "constraint"],
    )
    for route, served in sorted(engine.fold.routes.items()):
        for constraint in LIMITS:
            counter.add_metric([route, constraint], served.relaxed.get(constraint, 0))
    return counter


def _texts(engine: Engine) -> Iterator[Metric]:
    fits = CounterMetricFamily(
        "fairlead_text_fits", "Times that features of texts were learned.", labels=["route"]
    )
    unread = GaugeMetricFamily(
        "fairlead_texts_unread",
        "1 if texts are not read, as after the loss of the key.",
        labels=["route"],
    )
    for route, served in sorted(engine.fold.routes.items()):
        if served.learns_text:
            fits.add_metric([route], served.router.text.fits)
            unread.add_metric([route], float(text_problem(served, engine.term_counter) is not None))
    yield from (fits, unread)


def _quarantine(engine: Engine) -> Iterator[Metric]:
    quarantined = CounterMetricFamily(
        "fairlead_quarantined",
        "Outcomes that cannot be right and are not learned; those that are confirmed leave.",
        labels=["route", "provider", "quantity"],
    )
    factor = GaugeMetricFamily(
        "fairlead_price_list_factor",
        "What calls cost over what the price list says, if these are apart by over a fifth.",
        labels=["route", "provider"],
    )
    call = GaugeMetricFamily(
        "fairlead_call_usd",
        "A typical call of a provider by its latest invoices, and by its price list.",
        labels=["route", "provider", "by"],
    )
    for route, served in sorted(engine.fold.routes.items()):
        counts: Counter[tuple[str, str]] = Counter()
        for doubt in served.router.quarantine:
            if doubt.quantity == "prices":
                factor.add_metric([route, doubt.provider], doubt.value / doubt.expected)
            else:
                counts[doubt.provider, doubt.quantity] += doubt.count
        for (provider, quantity), count in sorted(counts.items()):
            quarantined.add_metric([route, provider, quantity], count)
        for provider, (invoiced, listed) in sorted(served.router.call_usd().items()):
            call.add_metric([route, provider, "invoice"], invoiced)
            call.add_metric([route, provider, "list"], listed)
    yield from (quarantined, factor, call)


def _budgets(engine: Engine) -> Iterator[Metric]:
    """Yield the budgets of routes, and those that routes share, which have no route but a name."""
    labels = ["route", "budget"]
    spent, limit, forecast = (
        GaugeMetricFamily(f"fairlead_budget_{name}_usd", text, labels=labels)
        for name, text in (
            ("spent", "Money spent in the present period of the budget."),
            ("limit", "Limit of the present period of the budget."),
            ("forecast", "What the period is expected to cost."),
        )
    )
    alarms = CounterMetricFamily(
        "fairlead_budget_alarms", "Alarms of budgets, by level in percent.", labels=[*labels, "level"]
    )
    now_s, fold = engine.clock(), engine.fold
    entries = [
        ([name, ""], served.router.budget_state(now_s), served.router.budget_alarm_counts)
        for name, served in sorted(fold.routes.items())
    ]
    entries += [
        (["", name], budget.look(now_s), budget.pacer.account.raised)
        for name, budget in sorted(fold.shared.by_name.items())
    ]
    for names, state, counts in entries:
        if state is not None:
            spent.add_metric(names, state.spent_usd)
            limit.add_metric(names, state.limit_usd)
            forecast.add_metric(names, state.forecast_usd)
        for level, count in sorted(counts.items()):
            alarms.add_metric([*names, level], count)
    yield from (spent, limit, forecast, alarms)
