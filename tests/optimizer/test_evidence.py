"""A router that is told what was known before its own traffic."""

from dataclasses import replace

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import Encoder, SurfaceFeatures, TaskLabel
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Context, DriftAlarm, Evidence, Feedback, Outcome, Prices, Provider, Route
from fairlead.optimizer.types.budget import Budget
from fairlead.optimizer.types.evidence import MOST_ROWS

WIDTH = 3
BLOCKS = (Block("context", WIDTH, isotropic=False),)
PRICES = {"small": Prices(input_usd_per_mtok=0.1, output_usd_per_mtok=1.0), "unpriced": None}
ROUTE = Route(
    name="chat",
    providers=tuple(Provider(name=name, prices=prices) for name, prices in PRICES.items()),
    budget=Budget(usd_per_request=1e-3),
)
GOOD = {"small": 0.4, "unpriced": 0.8}


def new_router(route=ROUTE) -> Router:
    return Router(route, blocks=BLOCKS)


def evidence(
    n=60, *, seq=0, source="evals", good=GOOD, providers=("small", "unpriced"), **changes
) -> Evidence:
    rng = np.random.default_rng([1, seq])
    outcomes = np.full((4, n, len(providers)), np.nan)
    outcomes[0] = rng.normal([good[name] for name in providers], 0.1, size=(n, len(providers))).clip(0, 1)
    outcomes[1] = rng.integers(90, 110, size=(n, len(providers)))
    outcomes[2, :, providers.index("unpriced")] = 5e-4
    outcomes[3] = 0.5
    event = Evidence(
        seq=seq,
        source=source,
        providers=providers,
        features=rng.normal(size=(n, WIDTH)),
        outcomes=outcomes,
        counts=np.ones((n, len(providers))),
        input_tokens=np.full(n, 40.0),
    )
    return replace(event, **changes)


def play(router, n, *, first=0, good=GOOD):
    """Serve n requests; the events in their order."""
    events = []
    rng = np.random.default_rng([2, first])
    for i in range(first, first + n):
        context = Context(features=rng.normal(size=WIDTH), input_tokens=40.0)
        decision = router.decide(context, decision_id=str(i), draw=rng.random())
        name = decision.selected
        usd = 5e-4 if name == "unpriced" else None
        answer = Outcome(
            decision_id=str(i),
            served_provider=name,
            output_tokens=int(rng.integers(90, 110)),
            input_tokens=40,
            cost_usd=usd,
            latency_s=0.5,
        )
        judged = Feedback(decision_id=str(i), value=float(np.clip(rng.normal(good[name], 0.1), 0, 1)))
        for event in (decision, answer, judged):
            router.learn(event)
            events.append(event)
    return events


def assert_same(left: Router, right: Router):
    for draw in (0.1, 0.9):
        asked = [
            each.decide(Context(features=np.ones(WIDTH), input_tokens=9.0), decision_id="asked", draw=draw)
            for each in (left, right)
        ]
        assert encode(asked[0]) == encode(asked[1])
    assert left.summary() == right.summary()


def test_the_first_decision_knows_quality_cost_and_latency():
    router = new_router()
    router.learn(evidence(300))
    decision = router.decide(Context(features=np.zeros(WIDTH), input_tokens=40.0), decision_id="1", draw=0.5)
    small, unpriced = decision.candidates
    assert unpriced.expected.quality - small.expected.quality > 0.1
    # 40 input tokens, and 100 output tokens in the mean: 4e-6 + 1e-4 USD. Without evidence 300 are expected,
    # and a provider without price list counts as dear as the dearest.
    assert 1.04e-4 < small.expected.cost_usd < 2e-4
    assert unpriced.expected.cost_usd == pytest.approx(5e-4, rel=0.4)
    assert small.expected.latency_s == pytest.approx(0.5, rel=0.2)
    assert decision.seq == 1


def test_trust_is_earned_and_shown():
    router = new_router()
    router.learn(evidence(300))
    play(router, 120)
    shown = router.summary()["evidence"]["evals"]
    assert shown["rows"] == 300
    assert shown["quality_trust"] > 0.5
    assert shown["cost_trust"] > 0.5
    assert router.summary()["providers"]["small"]["evidence_share"] > 0.5
    liar = new_router()
    liar.learn(evidence(300, good={"small": 0.9, "unpriced": 0.1}))
    play(liar, 120)
    assert liar.summary()["evidence"]["evals"]["quality_trust"] < 0.05
    assert liar.summary()["providers"]["small"]["evidence_share"] < 0.3


def test_a_rebuilt_router_is_the_same_bit_for_bit():
    router = new_router()
    events = [evidence()]
    router.learn(events[0])
    events += play(router, 40)
    again = evidence(30, seq=router.next_seq, source="second", providers=("unpriced",))
    router.learn(again)
    events += [again, *play(router, 40, first=40)]
    rebuilt = new_router().rebuild(decode(encode(event)) for event in events)
    assert_same(router, rebuilt)


def test_a_saved_router_goes_on_bit_for_bit(tmp_path):
    router = new_router()
    router.learn(evidence())
    play(router, 30)
    router.save(tmp_path / "state")
    loaded = new_router()
    loaded.load(tmp_path / "state")
    assert_same(router, loaded)
    for each in (router, loaded):
        play(each, 30, first=30)
        each.learn(evidence(20, seq=each.next_seq))
        each.learn(
            DriftAlarm(provider="small", quantity="quality", since_seq=5, at_seq=20, before=0.0, after=0.5)
        )
        play(each, 5, first=60)
    assert_same(router, loaded)


def test_a_source_that_comes_again_replaces_what_it_said():
    first, second = evidence(40), evidence(50, seq=1)
    in_order, late, once = new_router(), new_router(), new_router()
    for router, events in ((in_order, (first, second, first)), (late, (second, first)), (once, (second,))):
        for event in events:
            router.learn(event)
        play(router, 20, first=2)
    beliefs = [router.summary()["providers"] for router in (in_order, late, once)]
    assert beliefs[0] == beliefs[2]
    assert beliefs[1] == beliefs[2]


def test_parts_of_a_source_add_up_until_it_begins_anew():
    whole = evidence(60)

    def part(rows, *, number, seq):
        slices = {name: getattr(whole, name)[rows] for name in ("features", "counts", "input_tokens")}
        return replace(whole, part=number, seq=seq, outcomes=whole.outcomes[:, rows].copy(), **slices)

    first, second = part(slice(0, 25), number=0, seq=0), part(slice(25, 60), number=1, seq=1)
    anew = part(slice(0, 25), number=0, seq=2)
    states = []
    for events in (
        (first, second),
        (second, first),
        (replace(whole, seq=0),),
        (first, second, anew),
        (anew,),
    ):
        router = new_router()
        for event in events:
            router.learn(event)
        play(router, 10, first=3)
        states.append(router.summary()["providers"])
    assert states[0] == states[1] == states[2]
    assert states[3] == states[4] != states[0]
    router.learn(replace(evidence(MOST_ROWS - 25, seq=9), part=1))
    with pytest.raises(InvalidInput, match=rf"{MOST_ROWS + 1:,} rows, and {MOST_ROWS:,} are the most"):
        router.learn(replace(evidence(1, seq=10), part=2))


def test_withdrawn_evidence_is_forgotten():
    told, never = new_router(), new_router()
    told.learn(evidence())
    nothing = evidence(0, seq=1, providers=("unpriced",))
    told.learn(nothing)
    assert told.summary()["evidence"] == {}
    never.next_seq = 2
    play(told, 20)
    play(never, 20)
    left, right = (
        each.decide(Context(features=np.ones(WIDTH)), decision_id="x", draw=0.5).candidates
        for each in (told, never)
    )
    assert [c.expected.quality for c in left] == [c.expected.quality for c in right]


def test_a_newcomer_with_evidence_is_not_unknown():
    router = new_router(replace(ROUTE, providers=ROUTE.providers[:1]))
    play(router, 60)
    router.configure(ROUTE)
    cold = router.summary()["providers"]["unpriced"]
    assert cold["newcomer"]
    router.learn(evidence(200, seq=router.next_seq, providers=("unpriced",)))
    warm = router.summary()["providers"]["unpriced"]
    assert warm["quality"] > cold["quality"] + 0.1
    assert cold["cost_usd"] is None
    assert warm["cost_usd"] > 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"providers": ("small", "gpt-9")}, "'gpt-9', which is not on the route: add it first"),
        ({"features": np.zeros((60, 5))}, "5 features, but 3 are needed"),
    ],
)
def test_evidence_that_does_not_fit_the_route_is_refused(changes, message):
    router = new_router()
    evaluations = evidence(60)
    with pytest.raises(InvalidInput, match=message):
        router.learn(replace(evaluations, **changes))
    assert router.summary()["evidence"] == {}
    assert router.next_seq == 0


def test_evidence_that_cannot_be_right_is_refused():
    evaluations = evidence(4)
    stars, infinite = evaluations.outcomes.copy(), evaluations.outcomes.copy()
    stars[0, 2, 1], infinite[2, 1, 0] = 4.0, np.inf
    for changes, message in [
        ({"outcomes": stars}, r"quality of 'unpriced' in row 2 of 'evals' is 4, outside \[0, 1\]: scale it"),
        ({"outcomes": infinite}, "cost_usd of 'small' in row 1 of 'evals' is inf"),
        ({"providers": ("small", "small")}, "names a provider twice"),
        ({"counts": np.ones((3, 2))}, r"counts is float64 of shape \(3, 2\)"),
        ({"tasks": ("a",)}, "tasks has 1 values for 4 rows"),
        ({"counts": np.full((4, 2), 1e7)}, "count of 'small' in row 0 of 'evals' is 1e[+]07, outside"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            replace(evaluations, **changes)
    with pytest.raises(InvalidInput, match=rf"{MOST_ROWS + 1:,} rows, and {MOST_ROWS:,} are the most"):
        evidence(MOST_ROWS + 1)


def test_a_line_with_tables_that_do_not_fit_is_refused():
    line = encode(evidence(4))
    assert encode(decode(line)) == line
    with pytest.raises(InvalidInput, match="no rows of 1 providers"):
        decode(line.replace('["small","unpriced"]', '["small"]'))


def test_of_a_mean_over_a_task_nothing_but_the_task_is_known():
    router = Router(ROUTE, encoder=Encoder([SurfaceFeatures(), TaskLabel(width=4)]))
    contexts = [Context(text="hello", task="sql"), Context(task="sql"), Context()]
    outcomes, counts = np.full((4, 3, 2), np.nan), np.ones((3, 2))
    evaluations = router.evidence_of(
        contexts,
        seq=0,
        source="x",
        providers=("small", "unpriced"),
        outcomes=outcomes,
        counts=counts,
    )
    whole, task, nothing = evaluations.features
    decision = router.decide(contexts[0], decision_id="1", draw=0.5)
    np.testing.assert_array_equal(whole, decision.features)
    np.testing.assert_array_equal(task[-4:], whole[-4:])
    assert np.isnan(task[:-4]).all()
    assert np.isnan(nothing).all()
    with pytest.raises(InvalidInput, match="'gpt-9', which is not on the route"):
        router.evidence_of(
            contexts,
            seq=0,
            source="x",
            providers=("small", "gpt-9"),
            outcomes=outcomes,
            counts=counts,
        )


def test_a_published_mean_moves_what_is_expected_of_a_task():
    router = Router(ROUTE, encoder=Encoder([SurfaceFeatures(), TaskLabel(width=4)]))
    outcomes = np.full((4, 3, 2), np.nan)
    outcomes[0] = [[0.9, 0.4], [0.2, 0.4], [0.55, 0.4]]
    router.learn(
        router.evidence_of(
            [Context(task="sql"), Context(task="chat"), Context()],
            seq=0,
            source="published",
            providers=("small", "unpriced"),
            outcomes=outcomes,
            counts=np.full((3, 2), 200.0),
        )
    )
    decisions = [
        router.decide(Context(text="hi", task=task), decision_id=task, draw=0.5) for task in ("sql", "chat")
    ]
    sql, chat = (decision.candidates[0].expected.quality for decision in decisions)
    assert sql > chat + 0.1
