"""A router on embeddings of ordinary width: what it logs, replays and learns from."""

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import Block, CallerEmbedding, Encoder, TaskLabel
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Context, Feedback
from fairlead.optimizer.types.events import copy_with
from tests.optimizer.toy import route

WIDTH = 1536


def new_router() -> Router:
    return Router(route(), encoder=Encoder([TaskLabel(width=4), CallerEmbedding(width=WIDTH)]))


def embeddings(n, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, WIDTH))
    return centres[rng.integers(8, size=n)] + 0.5 * rng.normal(size=(n, WIDTH))


def served(router, rows, *, draws=7):
    """Decisions on these embeddings and feedback on them, as events; the router learns them."""
    rng, events = np.random.default_rng(draws), []
    for i, row in enumerate(rows):
        decision = router.decide(Context(task="a", embedding=row), decision_id=f"d{i}", draw=rng.random())
        for event in (decision, Feedback(decision_id=decision.id, value=float(rng.random() < 0.5))):
            router.learn(event)
            events.append(event)
    return events


def test_a_decision_logs_the_sketch_and_names_it():
    router = new_router()
    decision = router.decide(Context(embedding=embeddings(1)[0]), decision_id="d", draw=0.5)
    assert len(decision.features) == 4 + 192
    assert "sketch" in decision.encoder_version
    assert len(encode(decision)) < 4_000


def test_a_log_replays_to_the_same_probabilities_from_its_own_features():
    rows = embeddings(80)
    router = new_router()
    events = [decode(encode(event)) for event in served(router, rows)]
    again = new_router()
    for event in events:
        if not isinstance(event, Feedback):
            context = Context(task="a", features=event.features)
            asked = again.decide(context, decision_id=event.id, draw=0.5)
            np.testing.assert_array_equal(asked.probabilities, event.probabilities)
        again.learn(event)
    assert again.summary() == router.summary()


def test_decisions_logged_with_the_whole_vector_by_an_earlier_release_are_learned():
    rows = embeddings(40)
    router, again = new_router(), new_router()
    encoder = Encoder([TaskLabel(width=4), CallerEmbedding(width=WIDTH)])
    for event in served(router, rows):
        if not isinstance(event, Feedback):
            whole = encoder.encode(Context(task="a", embedding=rows[int(event.id[1:])]))
            event = copy_with(event, features=whole, encoder_version=encoder.version)
        again.learn(event)
    assert again.summary() == router.summary()


def test_vectors_of_the_library_are_sketched_too():
    router = Router(route(), blocks=(Block("vector", WIDTH, isotropic=False),))
    decision = router.decide(Context(features=embeddings(1)[0]), decision_id="d", draw=0.5)
    router.learn(decision)
    assert len(decision.features) == 192


def test_a_saved_router_goes_on_as_if_nothing_had_happened(tmp_path):
    rows = embeddings(60)
    router = new_router()
    served(router, rows[:40])
    router.save(tmp_path / "state.npz")
    again = new_router()
    again.load(tmp_path / "state.npz")
    for i, row in enumerate(rows[40:]):
        a, b = (r.decide(Context(embedding=row), decision_id=f"x{i}", draw=0.4) for r in (router, again))
        np.testing.assert_array_equal(a.probabilities, b.probabilities)


@pytest.mark.parametrize(
    "embedding",
    [
        np.ones(WIDTH - 1),
        np.ones((2, WIDTH)),
        np.full(WIDTH, np.nan),
        np.full(WIDTH, np.inf),
        np.array(["x"] * WIDTH),
        np.ones(192),
    ],
)
def test_what_is_no_embedding_of_the_route_is_refused(embedding):
    with pytest.raises(ValueError, match="embedding"):
        new_router().decide(Context(embedding=embedding), decision_id="d", draw=0.5)


def test_features_of_another_width_are_refused():
    for width in (1, 191, WIDTH, WIDTH + 5):
        with pytest.raises(InvalidInput, match="features have shape"):
            new_router().decide(Context(features=np.ones(width)), decision_id="d", draw=0.5)


@pytest.mark.parametrize("kind", ["equal", "zero", "one huge", "whole numbers"])
def test_odd_embeddings_are_harmless(kind):
    rows = embeddings(60)
    if kind == "equal":
        rows[:] = rows[0]
    elif kind == "zero":
        rows[:] = 0.0
    elif kind == "one huge":
        rows[::7, 3] = 1e308
    else:
        rows = rows.round().astype(np.int64)
    router = new_router()
    for event in served(router, rows):
        if not isinstance(event, Feedback):
            assert event.probabilities.sum() == pytest.approx(1.0)
            assert np.isfinite(event.expected[:4]).all()
