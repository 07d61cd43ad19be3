"""Readable features of a prompt's surface: its size, its characters, and signs of its kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.features import vocabulary as signs
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.types import Context, FloatArray
from fairlead.optimizer.types.arrays import BOUND

EDGE_CHARS: Final = 8_000
"""Characters read at each end of a text, so that the work on one request is bounded."""


class Scale(NamedTuple):
    """One feature, and the constants that bring it to about unit size."""

    name: str
    centre: float
    spread: float


# A feature is (raw - centre) / spread. The constants are medians and standard deviations over a mix
# of benchmark prompts and system logs, rounded; signs that most prompts lack keep a centre of zero,
# so that "absent" is 0. Change a line here, or anything it measures, and raise `VERSION`.
SCALES: Final = (
    Scale("no_text", 0.0, 1.0),  # 1 if there is no text, and then all others are 0
    Scale("log_chars", 5.5, 1.5),  # log(1 + characters)
    Scale("log_words", 3.8, 1.5),  # log(1 + words)
    Scale("log_lines", 1.2, 1.5),  # log(1 + line breaks)
    Scale("log_sentences", 1.2, 1.2),  # log(1 + sentence ends)
    Scale("word_length", 1.9, 0.25),  # log(1 + characters per word)
    Scale("digits", 0.05, 0.15),  # digits per character
    Scale("upper", 0.06, 0.15),  # capitals per ASCII letter
    Scale("punctuation", 0.06, 0.08),  # ASCII punctuation per character
    Scale("non_ascii", 0.0, 0.25),  # characters beyond ASCII, per character
    Scale("cjk", 0.0, 0.25),  # Chinese, Japanese and Korean characters, per character
    Scale("english", 0.2, 0.15),  # distinct English function words per distinct word
    Scale("variety", 0.7, 0.25),  # distinct words per word
    Scale("question_mark", 0.0, 1.0),  # 1 if the text ends in a question mark
    Scale("wh_start", 0.0, 1.0),  # 1 if the first word asks: what, how, is, ...
    Scale("code", 0.0, 2.5),  # how many different signs of source code occur
    Scale("maths_signs", 0.0, 1.2),  # log(1 + LaTeX and arithmetic signs)
    Scale("maths_words", 0.0, 1.0),  # log(1 + different words of mathematics)
    Scale("numbers", 0.1, 0.25),  # numbers per word
    Scale("options", 0.0, 2.0),  # how many different marks of answer options occur
    Scale("verbs", 0.0, 0.8),  # log(1 + different instruction verbs)
    Scale("structured", 0.0, 1.5),  # log(1 + marks of JSON, XML and key=value)
    Scale("paths", 0.0, 1.2),  # log(1 + marks of URLs and file paths)
    Scale("few_shot", 0.0, 1.0),  # log(1 + marks of worked examples)
)
NAMES: Final = tuple(scale.name for scale in SCALES)
VERSION: Final = "surface-1"

_CENTRE: Final = np.array([scale.centre for scale in SCALES])
_SPREAD: Final = np.array([scale.spread for scale in SCALES])
_NO_TEXT: Final = tuple(
    1.0 if scale.name == "no_text" else scale.centre for scale in SCALES
)  # at their centre, the others come out as 0


class SurfaceFeatures:
    """Readable features of the text, in about 20 microseconds per prompt.

    Looks at the length and at `EDGE_CHARS` characters from each end; counts over a longer text
    are scaled up from that part. Any Unicode string is fine, lone surrogates and NULs included.
    None gives zeros and ``no_text`` = 1. The coordinates are named by `NAMES`.

    >>> from fairlead import Context
    >>> row = SurfaceFeatures().transform([Context(text="What is 7 * 6?")])[0]
    >>> {name: round(float(row[NAMES.index(name)]), 1) for name in ("digits", "question_mark", "code")}
    {'digits': 0.6, 'question_mark': 1.0, 'code': 0.0}
    """

    @property
    def block(self) -> Block:
        return Block(name="surface", width=len(SCALES), isotropic=False)

    @property
    def version(self) -> str:
        return VERSION

    def transform(self, contexts: Sequence[Context]) -> FloatArray:
        rows = [_NO_TEXT if context.text is None else _measure(context.text) for context in contexts]
        scaled = np.array(rows, dtype=np.float64).reshape(len(rows), len(SCALES))
        scaled -= _CENTRE
        scaled /= _SPREAD
        # Raw values are never negative and no centre is BOUND spreads high, so nothing falls below.
        np.minimum(scaled, BOUND, out=scaled)
        return scaled

    def state(self) -> dict[str, NDArray[Any]]:
        return {"centre": _CENTRE.copy(), "spread": _SPREAD.copy()}


def excerpt(text: str, *, edge: int = EDGE_CHARS) -> str:
    """Return the part of a text that is read: all of it, or ``edge`` characters of each end of a longer one.

    A long prompt nearly always says what it wants at its start or its end; the middle is material.
    """
    if len(text) <= 2 * edge:
        return text
    return text[:edge] + "\n" + text[-edge:]


def _measure(text: str) -> tuple[float, ...]:
    """Measure the raw values in the order of `SCALES`."""
    part = excerpt(text)
    raw = part.encode("utf-8", "surrogatepass")
    words = raw.translate(signs.TO_WORDS).split()
    distinct = set(words)
    growth = len(text) / len(part) if part else 1.0
    size = (
        0.0,
        math.log1p(len(text)),
        math.log1p(len(words) * growth),
        math.log1p(raw.count(b"\n") * growth),
        math.log1p(_occurrences(raw, signs.SENTENCE_ENDS) * growth),
        math.log1p(len(part) / max(len(words), 1)),
    )
    return (
        *size,
        *_characters(raw, max(len(part), 1)),
        *_language(part, words, distinct),
        *_kind(raw, words, distinct),
    )


def _characters(raw: bytes, n_chars: int) -> tuple[float, ...]:
    """Measure digits, upper, punctuation, non-ASCII and CJK, each as a share in [0, 1]."""
    upper = _count(raw, signs.UPPER)
    letters = upper + _count(raw, signs.LOWER)
    ascii_only = raw.isascii()
    return (
        _count(raw, signs.DIGITS) / n_chars,
        upper / max(letters, 1),
        _count(raw, signs.PUNCTUATION) / n_chars,
        0.0 if ascii_only else _count(raw, signs.NON_ASCII_LEADS) / n_chars,
        0.0 if ascii_only else _count(raw, signs.CJK_LEADS) / n_chars,
    )


def _language(part: str, words: list[bytes], distinct: set[bytes]) -> tuple[float, ...]:
    """Measure English, variety, question mark and wh-start."""
    return (
        len(signs.ENGLISH & distinct) / max(len(distinct), 1),
        len(distinct) / max(len(words), 1),
        1.0 if part.rstrip().endswith(signs.QUESTION_MARKS) else 0.0,
        1.0 if words and words[0] in signs.QUESTION_WORDS else 0.0,
    )


def _kind(raw: bytes, words: list[bytes], distinct: set[bytes]) -> tuple[float, ...]:
    """Measure code to few-shot: what the signs say that the request is about."""
    tokens = set(raw.split())
    structure = _count(raw, signs.STRUCTURE_SIGNS) + _occurrences(raw, signs.STRUCTURE_MARKS)
    return (
        len(signs.CODE_TOKENS & tokens),
        math.log1p(_count(raw, signs.MATHS_SIGNS)),
        math.log1p(len(signs.MATHS_WORDS & distinct)),
        len(raw.translate(signs.TO_NUMBERS).split()) / max(len(words), 1),
        len(signs.OPTION_TOKENS & tokens),
        math.log1p(len(signs.INSTRUCTION_VERBS & distinct)),
        math.log1p(structure),
        math.log1p(_occurrences(raw, signs.PATH_MARKS)),
        math.log1p(_occurrences(raw, signs.EXAMPLE_MARKS)),
    )


def _count(raw: bytes, characters: bytes) -> int:
    """Count the bytes of `raw` that are among `characters`; faster than any loop or regex."""
    return len(raw) - len(raw.translate(None, characters))


def _occurrences(raw: bytes, marks: tuple[bytes, ...]) -> int:
    """Count how often any of the marks occurs."""
    return sum(map(raw.count, marks))
