"""Features of texts that a router learns from its own decisions: when, from what, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairlead import Block, Context, Feedback, InvalidInput, Outcome, Prices, Provider, Route, Router
from fairlead.optimizer.features.terms import TermCounter
from fairlead.optimizer.features.text import TEXT_BLOCK, TEXT_WIDTH
from fairlead.optimizer.learning.text_learner import FIRST_FIT, MOST_TEXTS, TextLearner
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.types import Decision, DriftAlarm, EncoderFitted, Event, Evidence, RouteChanged
from fairlead.optimizer.types.events import copy_with

TOPICS = {"cook": "bake bread flour oven butter salt", "code": "python loop list sort class error"}
COUNTER = TermCounter(b"0123456789abcdef")
PRICES = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0)
ROUTE = Route(name="chat", providers=(Provider(name="a", prices=PRICES), Provider(name="b")))
BLOCKS = (Block("own", 2, isotropic=False),)


def router_of(*, detect_drift: bool = True) -> Router:
    return Router(ROUTE, blocks=BLOCKS, detect_drift=detect_drift)


def text_of(i: int) -> tuple[str, str]:
    topic = ("cook", "code")[i % 2]
    words = TOPICS[topic].split()
    return topic, " ".join(words[(i * 7 + j * j) % len(words)] for j in range(4)) + f" note{i % 97}"


def play(router: Router, steps: Sequence[int], *, counter: TermCounter = COUNTER) -> list[Event]:
    """Serve requests, a being good at cooking and b at code, and fit whenever it is due."""
    events: list[Event] = []
    dice = np.random.default_rng(4)
    for i in steps:
        topic, text = text_of(i)
        context = Context(features=np.array([i % 3 - 1.0, 0.5]), terms=counter.count(text), input_tokens=10.0)
        decision = router.decide(context, decision_id=str(i), draw=float(dice.random()))
        good = (decision.selected == "a") == (topic == "cook")
        outcome = Outcome(
            decision_id=str(i), served_provider=decision.selected, cost_usd=1e-3, output_tokens=200 + i % 40
        )
        new: list[Event] = [decision, outcome, Feedback(decision_id=str(i), value=0.9 if good else 0.2)]
        for event in new:
            router.learn(event)
        fitted = router.fit_text()
        if fitted is not None:
            router.learn(fitted)
            new.append(fitted)
        events += new
    return events


def assert_same_sums(left: Router, right: Router) -> None:
    for quantity in ("quality", "cost"):
        ours = getattr(left._beliefs, quantity).statistics()
        theirs = getattr(right._beliefs, quantity).statistics()
        assert ours.keys() == theirs.keys()
        for name, sums in ours.items():
            for part, array in sums.items():
                np.testing.assert_array_equal(array, theirs[name][part], err_msg=f"{quantity} {name} {part}")


def quality_of(router: Router, text: str) -> dict[str, float]:
    context = Context(features=np.array([0.0, 0.5]), terms=COUNTER.count(text), input_tokens=10.0)
    decision = router.decide(context, decision_id="probe", draw=0.5)
    return {candidate.provider: candidate.expected.quality for candidate in decision.candidates}


def test_a_router_learns_what_texts_are_about() -> None:
    router = router_of()
    events = play(router, range(2 * FIRST_FIT + 40))
    fits = [event for event in events if isinstance(event, EncoderFitted)]
    assert [(fit.number, fit.texts) for fit in fits] == [(1, FIRST_FIT), (2, 2 * FIRST_FIT)]
    cooking, code = quality_of(router, "bake bread butter salt"), quality_of(router, "python list sort error")
    assert cooking["a"] > cooking["b"] + 0.3
    assert code["b"] > code["a"] + 0.3
    versions = [event.encoder_version for event in events if isinstance(event, Decision)]
    assert len(set(versions)) == 3
    assert versions[FIRST_FIT - 1] != versions[FIRST_FIT]
    assert versions[-1].endswith(router.text.encoder.version)  # type: ignore[union-attr]


def test_everything_counts_as_if_it_had_been_encoded_so_from_the_start() -> None:
    """Quality and cost, on both sides of a change, and exactly: sums of whole numbers."""
    router = router_of(detect_drift=False)
    events = play(router, range(FIRST_FIT - 8))
    alarm = DriftAlarm(provider="a", quantity="quality", since_seq=60, at_seq=90, before=0.0, after=-0.3)
    router.learn(alarm)
    events += [alarm, *play(router, range(FIRST_FIT - 8, FIRST_FIT + 30))]
    encoder = router.text.encoder
    assert encoder is not None
    clean = Router(ROUTE, blocks=(*BLOCKS, TEXT_BLOCK), detect_drift=False)
    for event in events:
        if isinstance(event, Decision):
            features = np.concatenate([event.features[:2], encoder.encode(event.terms)])
            clean.learn(copy_with(event, features=features, terms=None))
        elif not isinstance(event, EncoderFitted):
            clean.learn(event)
    assert_same_sums(router, clean)


def test_a_rebuild_from_lines_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    router = router_of()
    lines = [encode(event) for event in play(router, range(FIRST_FIT + 20))]
    again = router_of().rebuild(decode(line) for line in lines)
    router.save(tmp_path / "live.npz")
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "live.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_a_snapshot_goes_on_where_it_was_taken(tmp_path: Path) -> None:
    router = router_of()
    play(router, range(FIRST_FIT + 20))
    router.save(tmp_path / "state.npz")
    again = router_of()
    again.load(tmp_path / "state.npz")
    assert again.encoder_version == router.encoder_version
    rest = range(FIRST_FIT + 20, 2 * FIRST_FIT + 5)
    left, right = play(router, rest), play(again, rest)
    assert [encode(event) for event in left] == [encode(event) for event in right]
    assert_same_sums(router, again)


def test_an_encoder_that_waits_is_in_a_snapshot(tmp_path: Path) -> None:
    router = router_of()
    play(router, range(FIRST_FIT - 1))
    _, text = text_of(FIRST_FIT - 1)
    last = router.decide(
        Context(features=np.zeros(2), terms=COUNTER.count(text)), decision_id="last", draw=0.1
    )
    router.learn(last)
    fitted = router.fit_text()
    assert fitted is not None
    router.learn(fitted, refit=False)
    assert router.must_reencode
    router.save(tmp_path / "state.npz")
    again = router_of()
    again.load(tmp_path / "state.npz")
    assert again.width == 2 + TEXT_WIDTH


def test_a_decision_by_the_encoder_before_is_encoded_anew() -> None:
    """Another process made it before it heard of the fit."""
    early, late = router_of(), router_of()
    events = play(early, range(FIRST_FIT + 1))
    at = next(i for i, event in enumerate(events) if isinstance(event, EncoderFitted))
    for event in events[: at + 1]:
        late.learn(event)
    new = events[at + 1]
    assert isinstance(new, Decision)
    old = copy_with(new, features=new.features[:2], encoder_version="")
    late.learn(old)
    for event in events[at + 2 :]:
        late.learn(event)
    assert_same_sums(early, late)


def test_what_was_closed_is_carried_over() -> None:
    """Decisions that are closed, and whose terms are kept no more, count as nearly the same."""
    kept, closed = router_of(), router_of()
    for router in (kept, closed):
        play(router, range(2 * FIRST_FIT - 20))
    closed.close_before(2 * FIRST_FIT - 60)
    for router in (kept, closed):
        play(router, range(2 * FIRST_FIT - 20, 2 * FIRST_FIT + 1))
        assert router.text.fits == 2
    for text in ("bake bread butter salt", "python list sort error"):
        left, right = quality_of(kept, text), quality_of(closed, text)
        assert left == pytest.approx(right, abs=0.1)
    counts = [
        {n: kept._beliefs.quality.count(n) for n in "ab"},
        {n: closed._beliefs.quality.count(n) for n in "ab"},
    ]
    assert sum(counts[0].values()) == sum(counts[1].values()) == 2 * FIRST_FIT + 1


def test_of_two_processes_that_fitted_the_first_is_heard() -> None:
    router = router_of()
    events = play(router, range(FIRST_FIT))
    first = next(event for event in events if isinstance(event, EncoderFitted))
    version = router.encoder_version
    router.learn(replace(first, arrays={**first.arrays, "scale": np.array(7.0)}))
    assert router.encoder_version == version
    assert router.text.fits == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"components": np.zeros((3, TEXT_WIDTH), dtype=np.float32)},
        {"scale": np.array(np.nan)},
        {"columns": np.zeros(0, dtype=np.int32)},
        {"carry": np.zeros((2, 2))},
        {"idf": np.array(["a"])},
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_and_changes_nothing(wrong: dict[str, np.ndarray]) -> None:
    router = router_of()
    events = play(router, range(FIRST_FIT))
    fitted = next(event for event in events if isinstance(event, EncoderFitted))
    play(router, range(FIRST_FIT, 2 * FIRST_FIT - 1))
    before = router.encoder_version, router.summary()
    with pytest.raises(InvalidInput):
        router.learn(replace(fitted, number=2, texts=2 * FIRST_FIT - 1, arrays={**fitted.arrays, **wrong}))
    assert (router.encoder_version, router.summary()) == before
    router.refit()
    assert router.text.fits == 1


def test_a_fit_of_another_route_is_refused() -> None:
    router = router_of()
    events = play(router, range(FIRST_FIT))
    fitted = next(event for event in events if isinstance(event, EncoderFitted))
    with pytest.raises(InvalidInput, match="has seen 0"):
        router_of().learn(fitted)


def test_equal_texts_teach_nothing_and_are_tried_again_later() -> None:
    router = router_of()
    for i in range(FIRST_FIT):
        context = Context(features=np.zeros(2), terms=COUNTER.count("the same"))
        router.learn(router.decide(context, decision_id=str(i), draw=0.5))
    fitted = router.fit_text()
    assert fitted is not None
    assert not fitted.arrays
    assert "too few" in fitted.reason
    router.learn(decode(encode(fitted)))
    assert router.fit_text() is None
    assert (router.text.next_fit_at, router.width) == (2 * FIRST_FIT, 2)


def test_another_key_starts_anew_and_is_never_mixed() -> None:
    router = router_of()
    play(router, range(FIRST_FIT + 5))
    version = router.encoder_version
    other = TermCounter(b"another key, 16+")
    _, text = text_of(1)
    probe = router.decide(
        Context(features=np.zeros(2), terms=other.count(text)), decision_id="probe", draw=0.5
    )
    assert not probe.features[2:].any()
    assert probe.encoder_version != version
    events = play(router, range(FIRST_FIT + 5, 2 * FIRST_FIT + 5), counter=other)
    assert [event.number for event in events if isinstance(event, EncoderFitted)] == [2]
    assert router.text.encoder is not None
    assert router.text.encoder.key_id == other.key_id


def test_a_request_without_text_stays_at_the_origin() -> None:
    router = router_of()
    play(router, range(2 * FIRST_FIT - 3))
    plain = router.decide(Context(features=np.ones(2)), decision_id="plain", draw=0.5)
    assert not plain.features[2:].any()
    router.learn(plain)
    router.learn(Feedback(decision_id="plain", value=1.0))
    play(router, range(2 * FIRST_FIT - 3, 2 * FIRST_FIT))
    opened = router.open_decision("plain")
    assert router.text.fits == 2
    assert opened is not None
    np.testing.assert_array_equal(opened.features, [1.0, 1.0, *[0.0] * TEXT_WIDTH])


def test_memory_is_bounded() -> None:
    learner = TextLearner()
    terms = COUNTER.count("one text")
    for seq in range(MOST_TEXTS + 10):
        learner.add(seq, terms)
    assert learner.terms_of(9) is None
    assert learner.terms_of(10) == terms
    assert learner.seen == MOST_TEXTS + 10


def test_the_simulation_learns_texts_as_a_router_does() -> None:
    from fairlead.experiments.simulation.scenario import Settings
    from fairlead.experiments.simulation.stream import make_stream
    from tests.experiments.simulation.test_stream import make_table

    stream = make_stream(make_table(), Settings(), 0)
    router = Router(ROUTE, blocks=stream.blocks)
    lines = []
    for step, terms in enumerate(stream.terms):
        context = Context(features=stream.fixed[step], terms=terms)
        router.learn(router.decide(context, decision_id=str(step), draw=0.5))
        if (fitted := router.fit_text()) is not None:
            lines.append(encode(fitted))
            router.learn(fitted)
    assert lines == [encode(segment.fitted) for segment in stream.segments if segment.fitted is not None]
    assert len(lines) == 2


def known(n: int, *, seq: int = 0) -> Evidence:
    """Labelled prompts: a is good at cooking, b at code."""
    texts = [text_of(i) for i in range(n)]
    quality = [[0.9, 0.2] if topic == "cook" else [0.2, 0.9] for topic, _ in texts]
    outcomes = np.full((4, n, 2), np.nan)
    outcomes[0] = quality
    return Evidence(
        seq=seq,
        source="evals",
        providers=("a", "b"),
        features=np.zeros((n, 2)),
        outcomes=outcomes,
        counts=np.ones((n, 2)),
        terms=tuple(COUNTER.count(text) for _, text in texts),
    )


def test_texts_of_evidence_are_learned_from_before_the_first_request() -> None:
    router = router_of()
    router.learn(known(FIRST_FIT))
    fitted = router.fit_text()
    assert fitted is not None
    router.learn(decode(encode(fitted)))
    cooking, code = quality_of(router, "bake bread butter salt"), quality_of(router, "python list sort error")
    assert cooking["a"] > cooking["b"] + 0.3
    assert code["b"] > code["a"] + 0.3


def test_evidence_is_encoded_anew_with_everything_else(tmp_path: Path) -> None:
    """Told before or after a fit, from lines or from a snapshot: what is believed is the same."""
    early, late = router_of(), router_of()
    evidence = known(60)
    early.learn(decode(encode(evidence)))
    events = play(early, range(FIRST_FIT - 60))
    at = next(i for i, event in enumerate(events) if isinstance(event, EncoderFitted))
    for event in (evidence, *events[: at + 1]):
        late.learn(event)
    late.learn(replace(evidence, seq=late.next_seq))
    first, second = (
        router.decide(
            Context(features=np.zeros(2), terms=COUNTER.count("bake bread")), decision_id="x", draw=0.5
        ).expected
        for router in (early, late)
    )
    np.testing.assert_allclose(first[0], second[0], rtol=1e-9)
    early.save(tmp_path / "state.npz")
    again = router_of()
    again.load(tmp_path / "state.npz")
    for router in (early, again):
        router.learn(RouteChanged(seq=router.next_seq, route=replace(ROUTE, providers=ROUTE.providers[::-1])))
    assert quality_of(early, "bake bread") == quality_of(again, "bake bread")


def test_other_traffic_is_learned_from_before_its_texts_have_doubled() -> None:
    learner, rng = TextLearner(), np.random.default_rng(0)

    def add(words: str, first: int, count: int) -> None:
        for seq in range(first, first + count):
            learner.add(seq, COUNTER.count(" ".join(rng.choice(words.split(), 12))))
            if learner.is_due:
                learner.fold(learner.fit())
                learner.adopt()

    usual = " ".join(f"usual{i}" for i in range(60))
    add(usual, 0, 9 * FIRST_FIT)
    assert (learner.fits, learner.next_fit_at) == (4, 16 * FIRST_FIT)
    again = TextLearner()
    again.restore(learner.state())
    add(" ".join(f"other{i}" for i in range(60)), 9 * FIRST_FIT, 40)
    assert 9 * FIRST_FIT < learner.next_fit_at <= 10 * FIRST_FIT + 40
    learner = again
    add(usual, 9 * FIRST_FIT, 2 * FIRST_FIT)
    assert learner.next_fit_at == 16 * FIRST_FIT
