"""The characters, marks and words that the surface features look for.

All of it is bytes of UTF-8, because counting and translating bytes costs a tenth of the same on
strings. Whatever changes here changes the features: raise `surface.VERSION` with it.
"""

from __future__ import annotations

import string
from typing import Final

DIGITS: Final = string.digits.encode()
UPPER: Final = string.ascii_uppercase.encode()
LOWER: Final = string.ascii_lowercase.encode()
PUNCTUATION: Final = string.punctuation.encode()
MATHS_SIGNS: Final = b"$\\^+=*<>"

# The first byte of a UTF-8 character tells its length, and with it roughly the script.
NON_ASCII_LEADS: Final = bytes(range(0xC0, 0x100))
CJK_LEADS: Final = bytes(range(0xE3, 0xEE))  # U+3000 to U+DFFF: kana, Han, Hangul


def _table(keep: bytes) -> bytes:
    """Make a table for bytes.translate that keeps some bytes, lower-cased, and blanks all others."""
    return bytes(byte if byte in keep else 0x20 for byte in range(256)).lower()


TO_WORDS: Final = _table(DIGITS + UPPER + LOWER + bytes(range(0x80, 0x100)))
TO_NUMBERS: Final = _table(DIGITS)

SENTENCE_ENDS: Final = (b". ", b"? ", b".\n", b"?\n")
QUESTION_MARKS: Final = ("?", "？", "؟")
STRUCTURE_SIGNS: Final = b"{}[]=_|"
STRUCTURE_MARKS: Final = (b'":', b"</")
PATH_MARKS: Final = (b"/", b":\\", b"www.")
EXAMPLE_MARKS: Final = (b"nswer:", b"Q:", b"nput:")

# Compared with the pieces between white space, as they stand.
CODE_TOKENS: Final = frozenset(
    b"def class import return assert function for if while from const var void int print "
    b"SELECT FROM WHERE #include ``` ```python ```json == != = += -> => { } }; //".split()
)
OPTION_TOKENS: Final = frozenset(
    b"A) B) C) D) E) (A) (B) (C) (D) (E) A. B. C. D. A: B: C: D: (1) (2) (3) (4) 1) 2) 3) "
    b"Options: options: Choices: choices:".split()
)

QUESTION_WORDS: Final = frozenset(
    b"what which who whom whose when where why how is are was were do does did can could should "
    b"would will".split()
)
ENGLISH: Final = frozenset(
    b"the of and to a in is that it for as with on are be this by from or an at which you was "
    b"have has not but they their he she his her if will can".split()
)
MATHS_WORDS: Final = frozenset(
    b"solve prove compute calculate evaluate simplify equation integer integers triangle angle "
    b"area sum product probability many much total percent fraction polynomial function real "
    b"frac sqrt matrix theorem digits average prime".split()
)
INSTRUCTION_VERBS: Final = frozenset(
    b"write explain translate summarise summarize list describe create implement generate "
    b"complete answer choose find give rewrite classify extract compare design fix convert "
    b"read print tell identify determine".split()
)
