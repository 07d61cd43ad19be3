from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fairlead.optimizer.features import TextProjection
from fairlead.optimizer.features.projection import TERM, TermCounter, distinct
from fairlead.optimizer.features.surface import EDGE_CHARS
from fairlead.optimizer.types import Context, FloatArray

from .requests import COOKING, SAILING, Watched, prompts, sentences


@pytest.fixture(scope="module")
def fitted() -> TextProjection:
    return TextProjection.fit(prompts(), width=8)


def project(projection: TextProjection, texts: list[str]) -> FloatArray:
    return projection.transform([Context(text=text) for text in texts])


def test_topics_are_far_apart(fitted: TextProjection) -> None:
    """New prompts lie nearer to the middle of their own topic's prompts than to the other's."""
    centres = [project(fitted, prompts()[part]).mean(axis=0) for part in (slice(30), slice(30, None))]
    for own, other, words in ((0, 1, COOKING), (1, 0, SAILING)):
        fresh = project(fitted, sentences(words, n=200, seed=9))
        nearer = np.linalg.norm(fresh - centres[own], axis=1) < np.linalg.norm(fresh - centres[other], axis=1)
        assert nearer.mean() > 0.98


def test_centred_and_scaled_by_one_number(fitted: TextProjection) -> None:
    coordinates = project(fitted, prompts())
    np.testing.assert_allclose(coordinates.mean(axis=0), 0.0, atol=1e-9)
    assert np.square(coordinates).mean() == pytest.approx(1.0)
    spread = coordinates.std(axis=0)
    assert (np.diff(spread) <= 1e-9).all()
    assert spread[0] > 1.5 * spread[-1]
    covariance = np.cov(coordinates.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-5)


def test_directions_have_their_sign_fixed(fitted: TextProjection) -> None:
    components = fitted.state()["components"]
    assert (components.max(axis=0) == np.abs(components).max(axis=0)).all()


def test_second_opinion_by_exact_decomposition() -> None:
    """With room for every direction, distances are those of plain TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = sorted(set(prompts()))[::3]
    vectorizer = TfidfVectorizer(token_pattern=TERM, ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    exact = vectorizer.fit_transform(texts).toarray()
    exact = exact - exact.mean(axis=0)
    rank = np.linalg.matrix_rank(exact)
    ours = project(TextProjection.fit(texts, width=32), texts)
    assert np.count_nonzero(ours.any(axis=0)) == rank < 32
    scale = np.square(ours).sum() / np.square(exact).sum()
    np.testing.assert_allclose(ours @ ours.T, scale * exact @ exact.T, atol=1e-4)


def unscaled(texts: list[str], *, width: int) -> FloatArray:
    """Centred coordinates of the texts that the projection was fitted on."""
    projection = TextProjection.fit(texts, width=width)
    coordinates: FloatArray = project(projection, texts) / projection.state()["scale"]
    return coordinates


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_few_directions_hold_as_much_as_any_could(width: int) -> None:
    """As much variance as the same number of principal components, found exactly."""
    texts = sorted(set(prompts()))
    variances = np.square(np.linalg.svd(unscaled(texts, width=64), compute_uv=False))
    assert np.square(unscaled(texts, width=width)).sum() > 0.99 * variances[:width].sum()


def test_set_of_prompts_decides() -> None:
    """Neither order, nor repeats, nor blanks, nor coming from a generator matters."""

    def stream() -> Iterator[str]:
        yield from reversed(prompts())
        yield from ["", "  \n"]
        yield from prompts()[:20]

    assert TextProjection.fit(stream(), width=8).version == TextProjection.fit(prompts(), width=8).version


def test_seed_and_width_and_terms_decide() -> None:
    many = prompts() + sentences(COOKING + SAILING, n=120, seed=3)
    projections = [
        TextProjection.fit(many, width=8),
        TextProjection.fit(many, width=9),
        TextProjection.fit(many, width=8, seed=1),
        TextProjection.fit(many, width=8, max_terms=20),
    ]
    assert len({projection.version for projection in projections}) == len(projections)
    assert len(projections[-1].state()["columns"]) == 20


def test_few_prompts_keep_the_width() -> None:
    projection = TextProjection.fit([f"number {word}" for word in COOKING[:9]], width=32)
    coordinates = project(projection, [f"number {word}" for word in COOKING[:9]])
    assert coordinates.shape == (9, 32)
    rank = np.count_nonzero(coordinates.any(axis=0))
    assert 1 <= rank <= 8
    assert not coordinates[:, rank:].any()
    assert np.square(coordinates[:, :rank]).mean() == pytest.approx(1.0)


def test_prompts_without_a_common_word() -> None:
    projection = TextProjection.fit(COOKING, width=4)
    assert np.isfinite(project(projection, COOKING)).all()


def test_unknown_words_give_zeros(fitted: TextProjection) -> None:
    assert not project(fitted, ["zyzzyva", "", "   ", "zyzzyva quokka"]).any()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Sail_2 home!", ["sail_2", "home", "!"]),
        ("f(x)=1", ["f", "(", "x", ")", "=", "1"]),
        ("東京で boats", ["東", "京", "で", "boats"]),
        ("“naïve”", ["“", "naïve", "”"]),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert re.findall(TERM, text.lower()) == terms
    assert TermCounter().count([text]).nnz == 2 * len(terms) - 1


def test_lone_surrogates_can_be_learned_from() -> None:
    projection = TextProjection.fit([f"\ud800 {text}" for text in prompts()], width=4)
    assert np.isfinite(project(projection, ["\ud800", "\udfff oven"])).all()


def test_work_on_a_huge_prompt_is_bounded(fitted: TextProjection) -> None:
    text = Watched("oven " * 2_000_000)
    assert fitted.transform([Context(text=text)]).any()
    assert 0 < text.read <= 2 * EDGE_CHARS


def test_too_few_prompts() -> None:
    with pytest.raises(ValueError, match=r"7 different non-empty prompts are too few .*: give at least 8"):
        TextProjection.fit([*COOKING[:7], *COOKING[:7], "", " "])


def test_one_text_instead_of_many() -> None:
    with pytest.raises(ValueError, match=r"prompts is one text.*: give a list of texts"):
        TextProjection.fit("trim the jib before the wind")


def test_prompts_that_do_not_differ() -> None:
    with pytest.raises(ValueError, match=r"nothing to tell apart: give prompts of more than one kind"):
        TextProjection.fit(["Trim" + " " * n + "the jib" for n in range(1, 12)])


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"seed": -1}, "seed is -1, but .*: give 0 to"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"max_terms": 0}, "max_terms is 0, but .*: give 1 to"),
    ],
)
def test_configuration_is_checked(configuration: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextProjection.fit(prompts(), **configuration)


def test_distinct_is_sorted() -> None:
    assert distinct(["b", "a", "b", "", *COOKING[:8]]) == sorted({"a", "b", *COOKING[:8]})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("idf", lambda array: array[:-1], "array 'idf' is .* does not fit"),
        ("centre", lambda array: array[:-1], "array 'centre' .* does not fit"),
        ("centre", lambda array: array * np.nan, "array 'centre' .* not finite"),
        ("idf", lambda array: array.astype(str), "array 'idf' .* not finite float64"),
        ("columns", lambda array: array[::-1], "array 'columns' does not ascend"),
        ("columns", lambda array: array + 2**20, "array 'columns' does not ascend"),
        (
            "probe",
            lambda array: array + 1,
            "the installed scikit-learn .*: install that release, or fit again",
        ),
    ],
)
def test_state_that_does_not_fit(fitted: TextProjection, name: str, change: Any, message: str) -> None:
    state = fitted.state()
    state[name] = change(state[name])
    with pytest.raises(ValueError, match=message):
        TextProjection(state=state)


def test_state_that_lacks_an_array(fitted: TextProjection) -> None:
    state = fitted.state()
    del state["idf"]
    with pytest.raises(ValueError, match=r"give what state\(\) returned"):
        TextProjection(state=state)


def test_state_round_trip(fitted: TextProjection) -> None:
    again = TextProjection(state=fitted.state())
    assert again.version == fitted.version
    assert project(again, prompts()).tobytes() == project(fitted, prompts()).tobytes()
