from __future__ import annotations

import math
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.optimizer.features import BOUND, SurfaceFeatures, vocabulary
from fairlead.optimizer.features.base import fingerprint
from fairlead.optimizer.features.surface import EDGE_CHARS, NAMES, SCALES, VERSION, excerpt
from fairlead.optimizer.types import Context

from .requests import REQUESTS, Watched


def named(text: str | None) -> dict[str, float]:
    """Scaled features by name."""
    row = SurfaceFeatures().transform([Context(text=text)])[0]
    return dict(zip(NAMES, row.tolist(), strict=True))


def raw(text: str) -> dict[str, float]:
    """Features before scaling, where scaling cut nothing off."""
    return {scale.name: named(text)[scale.name] * scale.spread + scale.centre for scale in SCALES}


def test_no_text_is_zero_but_for_its_flag() -> None:
    features = named(None)
    assert features.pop("no_text") == 1.0
    assert set(features.values()) == {0.0}
    assert named("")["no_text"] == 0.0


def test_names_are_distinct_and_match_the_block() -> None:
    assert len(set(NAMES)) == len(NAMES) == SurfaceFeatures().block.width == 24


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("question_mark", "and you?\n"),
        ("question_mark", "你好吗？"),
        ("wh_start", "  How does a sail work"),
        ("code", "import os\ndef main():\n    return os.name"),
        ("maths_signs", "$\\frac{1}{2} + x^2$"),
        ("maths_words", "Solve the equation"),
        ("numbers", "12 and 13"),
        ("options", "A) red B) green C) blue"),
        ("verbs", "Summarise this, then translate it"),
        ("structured", '{"key": [1, 2]}'),
        ("structured", "<a><b/></a>"),
        ("structured", "level=info user=17"),
        ("paths", "see https://example.org/a/b"),
        ("few_shot", "Q: 1+1? Answer: 2"),
        ("non_ascii", "naïve café"),
        ("cjk", "天気はどうですか"),
        ("english", "that is the end of it"),
        ("upper", "ERROR IN MODULE"),
        ("digits", "10.0.3.7 404"),
        ("punctuation", "--- !!! ---"),
    ],
)
def test_sign_is_seen(name: str, text: str) -> None:
    assert named(text)[name] > named("plain words without anything")[name]


def test_by_hand() -> None:
    features = raw("What is 3 + 4?\nA) 7\nB) 12")
    expected = {
        "log_chars": math.log(1 + 25),
        "log_words": math.log(1 + 8),  # what is 3 4 a 7 b 12
        "log_lines": math.log(1 + 2),
        "log_sentences": math.log(1 + 1),
        "word_length": math.log(1 + 25 / 8),
        "digits": 5 / 25,
        "upper": 3 / 8,
        "punctuation": 4 / 25,
        "english": 2 / 8,
        "variety": 1.0,
        "wh_start": 1.0,
        "maths_signs": math.log(1 + 1),
        "numbers": 4 / 8,
        "options": 2.0,
    }
    assert {name: value for name, value in features.items() if abs(value) > 1e-9} == pytest.approx(expected)


@given(st.text(string.printable, min_size=1, max_size=200))
def test_second_opinion(text: str) -> None:
    """Shares and sizes counted character by character."""
    words = "".join(c.lower() if c.isalnum() else " " for c in text).split()
    letters = sum(c.isalpha() for c in text)
    features = {scale.name: (scale, value) for scale, value in zip(SCALES, named(text).values(), strict=True)}
    expected = {
        "log_chars": math.log1p(len(text)),
        "log_words": math.log1p(len(words)),
        "log_lines": math.log1p(text.count("\n")),
        "digits": sum(c.isdigit() for c in text) / len(text),
        "upper": sum(c.isupper() for c in text) / max(letters, 1),
        "punctuation": sum(c in string.punctuation for c in text) / len(text),
        "non_ascii": 0.0,
        "variety": len(set(words)) / max(len(words), 1),
    }
    for name, value in expected.items():
        scale, values = features[name]
        assert values == pytest.approx(np.clip((value - scale.centre) / scale.spread, -8, 8))


@given(st.text(st.characters(min_codepoint=0x80, categories=None), min_size=1, max_size=50))
def test_share_beyond_ascii_counts_characters(text: str) -> None:
    assert raw(text)["non_ascii"] == pytest.approx(1.0)


def test_counts_of_a_long_text_are_scaled_up() -> None:
    long = raw("one two three four.\n" * 50_000)
    assert math.expm1(long["log_words"]) == pytest.approx(200_000, rel=1e-3)
    assert math.expm1(long["log_lines"]) == pytest.approx(50_000, rel=1e-2)


def test_work_on_a_huge_prompt_is_bounded() -> None:
    text = Watched("word " * 2_000_000)
    SurfaceFeatures().transform([Context(text=text)])
    assert 0 < text.read <= 2 * EDGE_CHARS


def test_no_feature_can_fall_below_the_bound() -> None:
    assert all(0.0 <= scale.centre < BOUND * scale.spread for scale in SCALES)


def test_version_stands_for_these_numbers() -> None:
    """The models of a route learned on these: other numbers need another version."""
    rounded = SurfaceFeatures().transform(REQUESTS).round(6) + 0.0
    looked_for = [
        f"{name} {sorted(value) if isinstance(value, frozenset) else value!r}"
        for name, value in sorted(vars(vocabulary).items())
        if name.isupper()
    ]
    values = VERSION, fingerprint(rounded), fingerprint(*looked_for)
    assert values == ("surface-1", "a24a7d8fcefa", "1994cca21fd5"), "raise surface.VERSION, then pin anew"


def test_short_text_is_read_whole() -> None:
    text = "x" * (2 * EDGE_CHARS)
    assert excerpt(text) is text


def test_long_text_is_read_at_both_ends() -> None:
    text = "a" * EDGE_CHARS + "b" * 1_000_000 + "c" * EDGE_CHARS
    assert excerpt(text) == "a" * EDGE_CHARS + "\n" + "c" * EDGE_CHARS
