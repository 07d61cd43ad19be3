"""A served route learns features of texts from its own requests: by default, and without keeping them."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.api.settings import Settings
from fairlead.api.state import snapshots
from fairlead.api.state.text_key import term_counter
from fairlead.api.store import Query, open_store
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.text import TEXT_WIDTH
from fairlead.optimizer.learning.text_learner import FIRST_FIT
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.types import Decision
from tests.api.running import Running, running

WORDS = ("parcel invoice refund lease", "python sort cache loop", "train tide lamp verb")


def ask(service: Running, count: int, *, start: int = 0) -> None:
    """Ask for decisions on prompts of three kinds, and judge a tenth of them."""
    for first in range(start, start + count, 50):
        some = range(first, min(first + 50, start + count))
        requests = [
            {"route": "quickstart", "prompt": f"{WORDS[i % 3]} number {i}", "id": f"t{i}"} for i in some
        ]
        answers = service.post("/v1/decisions/batch", {"decisions": requests}, status=200)
        judged = [item["decision"]["id"] for item in answers["decisions"][::10]]
        values = [{"decision_id": name, "value": 0.5} for name in judged]
        service.post("/v1/feedback/batch", {"feedback": values}, status=200)


def text_state(service: Running) -> Any:
    return service.get("/v1/routes/quickstart/state")["text"]


def until_fitted(service: Running, fits: int) -> None:
    router = service.service.engine.fold.routes["quickstart"].router
    service.until(lambda: router.text.fits >= fits and not router.must_reencode)
    service.until_ready()


def decisions(settings: Settings) -> list[Decision]:
    store = open_store(settings.database_url, read_only=True)
    rows = store.rows(Query(kind="decision", limit=10_000))
    store.close()
    return [event for row in rows if isinstance(event := decode(row.line), Decision)]


def state_arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "route0.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_a_route_learns_features_of_texts_with_nothing_set(tmp_path: Path) -> None:
    with running(tmp_path, poll_s=0.05) as service:
        ask(service, FIRST_FIT - 1)
        assert text_state(service)["encoder"] is None
        ask(service, 1, start=FIRST_FIT - 1)
        until_fitted(service, 1)
        ask(service, 20, start=FIRST_FIT)
        service.until_ready()
        state = text_state(service)
        assert state["texts"] == FIRST_FIT
        assert (state["seen"], state["next_fit_at"]) == (FIRST_FIT + 20, 2 * FIRST_FIT)
        assert state["problem"] is None
        metrics = service.client.get("/metrics").text
        assert 'fairlead_text_fits_total{route="quickstart"} 1.0' in metrics
        assert 'fairlead_texts_unread{route="quickstart"} 0.0' in metrics
        settings = service.settings
    logged = decisions(settings)
    assert state["encoder"] in logged[-1].encoder_version
    assert state["encoder"] not in logged[0].encoder_version
    assert len(logged[-1].features) == len(logged[0].features) + TEXT_WIDTH
    # What was served, saved and is rebuilt from the log is the same to the last bit.
    store = open_store(settings.database_url, read_only=True)
    fold = snapshots.rebuild(snapshots.new_fold(settings), store, until=store.last_seq())
    log = snapshots.log_fingerprint(store, fold.seq)
    store.close()
    saved = state_arrays(snapshots.paths(settings.state_dir)[0])
    rebuilt = state_arrays(snapshots.save(fold, tmp_path / "rebuilt", log=log))
    assert saved.keys() == rebuilt.keys()
    for name, array in saved.items():
        np.testing.assert_array_equal(array, rebuilt[name], err_msg=name)


def test_a_restart_goes_on_with_the_encoder(tmp_path: Path) -> None:
    with running(tmp_path, poll_s=0.05) as service:
        ask(service, FIRST_FIT)
        until_fitted(service, 1)
        before = text_state(service)
    with running(tmp_path, poll_s=0.05) as service:
        service.until_ready()
        assert text_state(service) == before


def test_nothing_of_a_text_is_kept_when_that_is_turned_off(tmp_path: Path) -> None:
    with running(tmp_path, text_features=False) as service:
        ask(service, 5)
        service.until_ready()
        assert "off" in text_state(service)["problem"]
        settings = service.settings
    assert all(decision.terms is None for decision in decisions(settings))
    assert not list(tmp_path.rglob("*.key"))


def test_a_route_can_do_without(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        body = {"name": "plain", "providers": ["small", "large"], "features": {"text": False}}
        service.post("/v1/routes", body, status=201)
        service.post("/v1/decisions", {"route": "plain", "prompt": "sort it"}, status=200)
        service.until_ready()
        assert service.get("/v1/routes/plain/state")["text"] is None
        settings = service.settings
    assert [decision.terms for decision in decisions(settings)] == [None]


def test_a_lost_key_is_said_and_texts_are_learned_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, poll_s=0.05) as service:
        ask(service, FIRST_FIT)
        until_fitted(service, 1)
        old = text_state(service)["encoder"]
        settings = service.settings
    (key,) = tmp_path.rglob("*.key")
    key.unlink()
    with caplog.at_level(logging.WARNING), running(tmp_path, poll_s=0.05) as service:
        service.until_ready()
        ask(service, 10, start=FIRST_FIT)
        service.until_ready()
        assert "another key" in text_state(service)["problem"]
        assert 'fairlead_texts_unread{route="quickstart"} 1.0' in service.client.get("/metrics").text
        service.until(lambda: "its texts are not read" in caplog.text)
        ask(service, FIRST_FIT - 10, start=FIRST_FIT + 10)
        until_fitted(service, 2)
        state = text_state(service)
        assert state["problem"] is None
        assert state["encoder"] not in {None, old}
    assert not decisions(settings)[FIRST_FIT].features[-TEXT_WIDTH:].any()


def test_a_route_that_is_created_again_learns_for_itself(tmp_path: Path) -> None:
    with running(tmp_path, poll_s=0.05) as service:
        ask(service, FIRST_FIT)
        until_fitted(service, 1)
        body = service.get("/v1/routes/quickstart")
        service.client.delete("/v1/routes/quickstart")
        service.post("/v1/routes", {"name": "quickstart", "providers": body["providers"]}, status=201)
        ask(service, FIRST_FIT, start=FIRST_FIT)
        until_fitted(service, 1)
        assert text_state(service)["texts"] == FIRST_FIT


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/log.db")
    first, second = term_counter(settings), term_counter(settings)
    assert first is not None
    assert second is not None
    assert first.key_id == second.key_id
    assert [path.name for path in tmp_path.iterdir()] == ["log.db.key"]
    assert (tmp_path / "log.db.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "secret", "00" * 15, "\0\xff"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content, encoding="utf-8")
    settings = Settings(database_url=f"sqlite:///{tmp_path}/log.db", text_key_file=tmp_path / "key")
    with pytest.raises(InvalidInput, match="holds no key"):
        term_counter(settings)
    assert (tmp_path / "key").read_text(encoding="utf-8") == content


def test_without_a_place_for_a_key_texts_are_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert term_counter(Settings(database_url="postgresql://127.0.0.1/x")) is None
    assert "text_key_file is not set" in caplog.text
    missing = tmp_path / "missing" / "key"
    assert term_counter(Settings(text_key_file=missing)) is None
    assert "cannot be written" in caplog.text


def test_two_processes_make_one_key(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    settings = Settings(text_key_file=tmp_path / "key")
    with ThreadPoolExecutor(8) as pool:
        counters = list(pool.map(partial(term_counter), [settings] * 8))
    assert len({counter.key_id for counter in counters if counter is not None}) == 1
    assert os.listdir(tmp_path) == ["key"]
