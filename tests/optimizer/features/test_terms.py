"""Hashed terms: bounded, keyed, the same everywhere, and nothing of a text but counts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead import InvalidInput
from fairlead.optimizer.features.terms import (
    KEY_ID_BYTES,
    MAX_COUNT,
    MAX_TERMS,
    N_COLUMNS,
    TermCounter,
    check_terms,
    entries,
)

KEY = b"a key of 16 bytes"


def columns_of(counter: TermCounter, text: str) -> set[int]:
    return set((entries(counter.count(text)) >> 4).tolist())


def test_words_signs_and_pairs_are_counted() -> None:
    counter = TermCounter(KEY)
    counts = entries(counter.count("Sort, sort!")) & MAX_COUNT
    assert sorted(counts.tolist()) == [1, 1, 1, 1, 1, 2]
    assert columns_of(counter, "sort ,") <= columns_of(counter, "Sort, sort!")


@given(st.text(max_size=300))
def test_any_text_gives_terms_that_pass_the_check(text: str) -> None:
    counter = TermCounter(KEY)
    terms = counter.count(text)
    check_terms(terms)
    assert terms == TermCounter(KEY).count(text)
    assert (entries(terms) >> 4 < N_COLUMNS).all()


@pytest.mark.parametrize("text", ["", "   ", "\ud800 lone", "x" * 10**6, "a\0b", "東京タワー", "🙂" * 50])
def test_odd_texts_are_counted_too(text: str) -> None:
    check_terms(TermCounter(KEY).count(text))


def test_an_enormous_text_is_bounded() -> None:
    terms = TermCounter(KEY).count(" ".join(f"word{i}" for i in range(200_000)))
    assert len(entries(terms)) == MAX_TERMS
    assert len(terms) == KEY_ID_BYTES + 3 * MAX_TERMS


def test_of_too_many_terms_all_texts_keep_the_same() -> None:
    """Those of the lowest columns: two long texts that share their words share what is kept of them."""
    counter = TermCounter(KEY)
    words = [f"word{i}" for i in range(400)]
    left, right = columns_of(counter, " ".join(words)), columns_of(counter, " ".join(reversed(words)))
    single = set().union(*(columns_of(counter, word) for word in words))
    shared = left & single, right & single
    limit = min(max(left), max(right))
    assert {column for column in shared[0] if column <= limit} == {c for c in shared[1] if c <= limit}


def test_another_key_gives_other_columns() -> None:
    text = "the quick brown fox jumps over the lazy dog"
    left, right = TermCounter(KEY), TermCounter(KEY + b"!")
    assert left.key_id != right.key_id
    assert len(columns_of(left, text) & columns_of(right, text)) <= 1


def test_no_part_of_key_or_text_is_in_the_terms() -> None:
    terms = TermCounter(KEY).count("parcel parcel parcel")
    assert b"parcel" not in terms
    assert KEY[:4] not in terms


def test_terms_are_the_same_in_every_process() -> None:
    program = (
        "from fairlead.optimizer.features.terms import TermCounter;"
        f"print(TermCounter({KEY!r}).count('what is 7 * 6?').hex())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == TermCounter(KEY).count("what is 7 * 6?").hex()


@pytest.mark.parametrize("key", [b"", b"short", bytes(65)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidInput, match=f"has {len(key)} bytes"):
        TermCounter(key)


@pytest.mark.parametrize("wrong", [b"", b"abc", b"abcd1", b"abcd" + b"\1\0\0" * 2, b"abcd" + bytes(3 * 600)])
def test_terms_that_were_not_counted_so_are_refused(wrong: bytes) -> None:
    with pytest.raises(InvalidInput):
        check_terms(wrong)


def test_a_million_terms_do_not_fill_memory() -> None:
    counter = TermCounter(KEY)
    for start in range(0, 200_000, 500):
        counter.count(" ".join(map(str, range(start, start + 500))))
    assert len(counter._columns) <= 2**16
    assert np.diff(entries(counter.count("1 2 3")).astype(np.int64)).min() > 0
