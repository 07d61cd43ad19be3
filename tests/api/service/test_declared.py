"""What a file of settings declares: applied once, and again where it was edited."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fairlead.api.schemas.declarations import PriceIn, ProviderIn, RouteIn
from fairlead.api.service.service import Service
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import TextProjection
from tests.api.running import Clock, running, settings_for


def test_settings_apply_an_entry_once_and_again_when_it_is_edited(tmp_path: Path) -> None:
    route = RouteIn(name="r", providers=("a",))
    first = {"providers": (ProviderIn(name="a"),), "routes": (route,)}
    with running(tmp_path, **first) as service:
        service.client.patch("/v1/providers/a", json={"paused": True})
    with running(tmp_path, **first) as service:
        assert service.get("/v1/providers/a")["paused"] is True, "the API came later"
    edited = {"providers": (ProviderIn(name="a", tags=("new",)),), "routes": (route,)}
    with running(tmp_path, **edited) as service:
        assert service.get("/v1/providers/a")["tags"] == ["new"]
        assert service.client.get("/v1/routes/quickstart").status_code == 404


def test_an_entry_of_the_settings_that_is_edited_back_is_applied_again(tmp_path: Path) -> None:
    def lists(tag: str, usd: float) -> dict[str, Any]:
        return {
            "providers": (ProviderIn(name="a", tags=(tag,)),),
            "prices": (PriceIn(provider="a", input_usd_per_mtok=usd, output_usd_per_mtok=usd),),
            "routes": (RouteIn(name="r", providers=("a",)),),
        }

    for tag, usd in (("first", 1.0), ("second", 2.0), ("first", 1.0), ("first", 1.0)):
        with running(tmp_path, **lists(tag, usd)) as service:
            provider = service.get("/v1/providers/a")
            price = service.get(f"/v1/prices/{provider['price_id']}")
            assert (provider["tags"], price["input_usd_per_mtok"]) == ([tag], usd)
            written = len(service.get("/v1/audit")["items"])
    assert written == 3 + 2 + 2, "each edit once, and nothing where nothing was edited"


def test_prices_with_dates_in_the_past_apply_in_their_order_on_a_new_database(tmp_path: Path) -> None:
    dates = {5.0: "2025-06-01T00:00:00Z", 2.0: "2026-02-01T00:00:00Z", 4.0: "2025-09-01T00:00:00Z"}
    declared: dict[str, Any] = {
        "providers": (ProviderIn(name="a"),),
        "prices": tuple(
            PriceIn(
                provider="a",
                input_usd_per_mtok=usd,
                output_usd_per_mtok=usd,
                effective_at=datetime.fromisoformat(date),
            )
            for usd, date in dates.items()
        ),
        "routes": (RouteIn(name="r", providers=("a",)),),
    }
    for _ in range(2):  # and at a restart
        with running(tmp_path, **declared) as service:
            price_id = service.get("/v1/providers/a")["price_id"]
            assert service.get(f"/v1/prices/{price_id}")["input_usd_per_mtok"] == 2.0
            assert len(service.get("/v1/prices")["items"]) == 3


def test_a_price_of_the_settings_goes_on_when_its_date_has_passed(tmp_path: Path) -> None:
    soon = datetime.fromtimestamp(time.time() + 3_600, UTC)
    declared: dict[str, Any] = {
        "providers": (ProviderIn(name="a"),),
        "prices": (
            PriceIn(provider="a", input_usd_per_mtok=1.0, output_usd_per_mtok=1.0),
            PriceIn(provider="a", input_usd_per_mtok=2.0, output_usd_per_mtok=2.0, effective_at=soon),
        ),
        "routes": (RouteIn(name="r", providers=("a",)),),
    }
    clock = Clock()
    with running(tmp_path, clock=clock, **declared):
        pass
    clock.ahead_s = 7_200.0
    with running(tmp_path, clock=clock, **declared) as service:

        def usd() -> float:
            price_id = service.get("/v1/providers/a")["price_id"]
            price: float = service.get(f"/v1/prices/{price_id}")["input_usd_per_mtok"]
            return price

        service.until(lambda: usd() == 2.0)


def test_a_route_whose_projection_is_lost_is_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "projection.npz"
    texts = [f"Where is parcel {i} of order {i % 7}?" for i in range(64)]
    TextProjection.fit(texts, width=4).save(path)
    content = path.read_bytes()
    body = {"name": "r", "providers": ["small"], "features": {"projection": str(path)}}
    with running(tmp_path) as service:
        service.post("/v1/routes", body, status=201)
        service.post("/v1/decisions", {"route": "r", "prompt": "x", "id": "one"}, status=200)
    for damaged in (None, b"", content[:-1]):
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(InvalidInput, match=r"route 'r': features.projection .*projection.npz.*restore"):
            Service(settings_for(tmp_path))
    path.write_bytes(content)
    with running(tmp_path) as service:
        assert service.get("/v1/decisions/one")["decision"]["route"] == "r"
        assert service.client.delete("/v1/routes/r").status_code in (200, 204)
    path.unlink()
    with running(tmp_path) as service:
        assert service.client.get("/v1/routes/r").status_code == 404
