"""Answer lengths are learned of the route first, and of each provider second, whatever unit they come in."""

import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.posterior import typical_values
from fairlead.optimizer.models.pricing import TYPICAL_OUTPUT_TOKENS
from fairlead.optimizer.models.statistics import quantise
from fairlead.optimizer.types import Prices, Provider

LIST = Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=10.0)
FEE = Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=0.002)


def beliefs(**prices: Prices | None) -> Beliefs:
    providers = [Provider(name=name, prices=listed) for name, listed in prices.items()]
    return Beliefs((Block("x", 1, isotropic=False),), providers)


def answer(learned: Beliefs, name: str, tokens: float, seq: int, *, at: float = 0.0) -> None:
    learned.cost.add(name, quantise(np.array([at])), tokens / TYPICAL_OUTPUT_TOKENS, seq=seq)
    learned.adopt(learned.fit())


def expected(learned: Beliefs, *, at: float = 0.0) -> dict[str, float]:
    cost_usd = learned.predict(np.array([[1.0, at]]), 50.0).cost_usd[0]
    return dict(zip(learned.names, cost_usd.tolist(), strict=True))


@pytest.mark.parametrize("tokens", [1, 20, 300, 50_000])
def test_a_handful_of_answers_says_how_long_those_of_others_are(tokens: int) -> None:
    learned = beliefs(a=LIST, b=LIST, never=LIST)
    for seq in range(5):
        answer(learned, "ab"[seq % 2], tokens, seq)
    usd = expected(learned)
    true_usd = tokens * 10.0 / 1e6
    for name in "ab":
        assert usd[name] == pytest.approx(true_usd, rel=0.25)
    assert usd["never"] == pytest.approx(true_usd, rel=0.4)


def test_answers_say_nothing_of_a_price_per_call_or_of_unknown_prices() -> None:
    learned = beliefs(a=LIST, fee=FEE, unknown=None)
    for seq in range(5):
        answer(learned, "a", 1, seq)
    usd = expected(learned)
    assert usd["fee"] == pytest.approx(0.002, rel=0.2)
    # The highest that is known, and not 300 tokens at the list of another.
    assert usd["unknown"] == pytest.approx(0.002, rel=0.2)


def test_a_provider_may_answer_thirty_times_as_long_as_the_others() -> None:
    learned = beliefs(a=LIST, b=LIST, wordy=LIST)
    for seq in range(60):
        name = ("a", "b", "wordy")[seq % 3]
        answer(learned, name, 600 if name == "wordy" else 20, seq)
    usd = expected(learned)
    assert usd["wordy"] == pytest.approx(600 * 1e-5, rel=0.1)
    assert usd["a"] == pytest.approx(20 * 1e-5, rel=0.1)


def test_what_lengthens_all_answers_is_learned_as_a_share() -> None:
    """A context that doubles answers is learned from the brief and holds for the wordy."""
    learned = beliefs(a=LIST, wordy=LIST)
    rng = np.random.default_rng(0)
    for seq in range(300):
        at = float(rng.choice([-1.0, 1.0]))
        name, usual = ("wordy", 400.0) if seq % 10 == 0 else ("a", 20.0)
        answer(learned, name, usual * (1.5 + 0.5 * at), seq, at=at)
    high, low = expected(learned, at=1.0), expected(learned, at=-1.0)
    assert high["wordy"] / low["wordy"] == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_the_unit_hardly_matters_after_a_few_observations(unit: float) -> None:
    count, total = np.array([3.0, 2.0, 0.0]), np.array([6.0, 1.0, 0.0])
    square = total * total / np.maximum(count, 1.0)
    scaled = typical_values(count, unit * total, unit * unit * square, shared=[True] * 3)[0] / unit
    plain, _ = typical_values(count, total, square, shared=[True] * 3)
    # The unit counts for a sixteenth of a provider, of which there are 1.4 here.
    np.testing.assert_allclose(np.log(scaled / plain), 0.0, atol=abs(np.log(unit)) / 16 / 1.4)


def test_answers_of_a_hundred_thousand_tokens_count_whole() -> None:
    learned = beliefs(a=LIST)
    for seq in range(10):
        answer(learned, "a", 120_000, seq)
    assert expected(learned)["a"] == pytest.approx(1.2, rel=0.05)
