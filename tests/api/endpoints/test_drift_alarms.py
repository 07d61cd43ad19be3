"""Drift alarms over HTTP: shown with what changed, counted by quantity, and logged once."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import Running, running


def serve(service: Running, rounds: int, tokens: int) -> None:
    """Let ``large`` answer so often, with about so many tokens."""
    for i in range(rounds):
        decision = service.decide(candidates=["large"])
        usage = {"input_tokens": 100, "output_tokens": tokens + 7 * (i % 13)}
        report: dict[str, Any] = {"usage": usage, "latency_s": 0.5}
        service.post(f"/v1/decisions/{decision['id']}/outcome", report, status=200)
    service.until(service.settled)


def test_longer_answers_are_an_alarm_with_before_and_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metric = 'fairlead_drift_alarms_total{{provider="large",quantity="{}",route="quickstart"}} {:.1f}'
    with running(tmp_path) as service, caplog.at_level(logging.WARNING, "fairlead.drift"):
        serve(service, 60, 100)
        assert metric.format("tokens", 0.0) in service.client.get("/metrics").text
        service.until(lambda: service.service.drift_watch._counts is not None)
        serve(service, 12, 900)
        (alarm,) = service.get("/v1/routes/quickstart/state")["alarms"]
        assert (alarm["provider"], alarm["quantity"], alarm["task"]) == ("large", "tokens", None)
        assert 55 <= alarm["since_order"] <= 62 <= alarm["at_order"] < 72
        assert 100 < alarm["before"] < 190 and 900 < alarm["after"] < 990
        text = service.client.get("/metrics").text
        assert metric.format("tokens", 1.0) in text and metric.format("quality", 0.0) in text
        service.until(lambda: bool(caplog.messages))
        (message,) = caplog.messages
        assert message.startswith("route quickstart: tokens of large has changed from 1")
    caplog.clear()
    with running(tmp_path) as service, caplog.at_level(logging.WARNING, "fairlead.drift"):
        service.until(lambda: service.service.drift_watch._counts is not None)
        assert service.get("/v1/routes/quickstart/state")["alarms"] == [alarm]
        assert caplog.messages == []
