"""Money of hard budgets is kept for decisions that no account has booked yet."""

import numpy as np
import pytest

from fairlead import Context, Encoder, Prices, Provider, Route, Router, TaskLabel
from fairlead.api.service.reservations import MOST_S, SWEEP_S, Reservations
from tests.api.running import Clock, running

USD = 1e-3


def decisions(count):
    """Make decisions that are expected to cost the same."""
    prices = Prices(input_usd_per_mtok=10.0, output_usd_per_mtok=40.0)
    route = Route(name="chat", providers=tuple(Provider(name=name, prices=prices) for name in ("a", "b")))
    router = Router(route, encoder=Encoder([TaskLabel(width=4)]))
    return [
        router.decide(Context(task="chat"), decision_id=f"d{i}", draw=0.5, at_s=float(i))
        for i in range(count)
    ]


def test_what_is_booked_or_dropped_or_old_is_kept_no_longer():
    booked = set()
    reserved = Reservations(lambda route, name: name in booked)
    open_decisions = decisions(4)
    each = open_decisions[0].expected_usd
    assert each > 0.0
    for decision in [*open_decisions, open_decisions[3]]:
        reserved.add(decision)
    assert reserved.usd(4.0)["chat"] == pytest.approx(4 * each)
    booked.add("d0")
    assert reserved.usd(4.0)["chat"] == pytest.approx(3 * each)
    reserved.drop(open_decisions[1])
    reserved.drop(open_decisions[1])
    # The third is behind one that is never booked.
    booked.add("d3")
    assert reserved.usd(4.0 + SWEEP_S)["chat"] == pytest.approx(each)
    assert reserved.usd(3.0 + MOST_S) == {}


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_batch_at_once_does_not_exceed_a_hard_budget(tmp_path, is_shared):
    with running(tmp_path, clock=Clock()) as service:
        limit = {"usd_per_day": USD, "hard": True}
        if is_shared:
            service.post("/v1/budgets", {"name": "org", **limit, "routes": ["*"]}, status=201)
        else:
            service.client.patch("/v1/routes/quickstart", json={"budget": limit})
        service.until(service.settled)
        body = {"route": "quickstart", "prompt": "Where is my parcel?"}
        batch = service.post("/v1/decisions/batch", {"decisions": [body] * 100}, status=200)
        answers = [item["decision"] for item in batch["decisions"] if item["decision"] is not None]
        service.until(service.settled)
        refused = [item["problem"]["type"] for item in batch["decisions"] if item["decision"] is None]
        assert set(refused) == {"urn:fairlead:problem:budget-spent"}
        one_usd = max(expected_usd(answer) for answer in answers)
        total = float(np.sum([expected_usd(answer) for answer in answers]))
        assert USD - one_usd < total <= USD
        # What has been booked is reserved no longer: a failed call frees its money for the next one.
        failed = answers[0]["id"]
        service.post("/v1/decisions", body, status=429)
        service.post(f"/v1/decisions/{failed}/outcome", {"status": "error"}, status=200)
        service.until(service.settled)
        service.decide()
        service.post("/v1/decisions", body, status=429)


def expected_usd(answer) -> float:
    (cost,) = [c["expected"]["cost_usd"] for c in answer["candidates"] if c["provider"] == answer["selected"]]
    return float(cost)
