"""What only the bytes of a text file tell: encoding, gigantic lines, an end that is cut short."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_LINE_BYTES: Final = 1 << 20
SEPARATOR: Final = "\x01"
"""What no sound line holds; JSON and CSV alike write control characters in another way."""

_BLOCK: Final = 1 << 22


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """Lines that cannot be read, as (number from 1, reason), the number of lines, and whether the last ends.

    ``ends`` is False where the file has no line break at its end, as while it is still being written.
    """

    bad: tuple[tuple[int, str], ...]
    lines: int
    ends: bool


def scan_text(path: Path, *, copy_to: Path | None = None) -> TextFacts:
    """Go through the file once, in blocks; ``copy_to`` gets it with empty lines in place of bad ones."""
    bad: list[tuple[int, str]] = []
    number, carry, skipping = 0, b"", False
    copy = copy_to.open("wb") if copy_to is not None else None
    last = b"\n"
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                last = block[-1:]
                if skipping:  # the rest of a gigantic line
                    _, found, block = block.partition(b"\n")
                    skipping = not found
                    if skipping:
                        continue
                    if copy:
                        copy.write(b"\n")
                whole, newline, carry = (carry + block).rpartition(b"\n")
                if newline:
                    number += _scan_lines(whole + newline, number, bad, copy)
                if len(carry) > MAX_LINE_BYTES:
                    number += 1
                    bad.append((number, _too_long()))
                    carry, skipping = b"", True
        if carry:
            number += _scan_lines(carry, number, bad, copy)
    finally:
        if copy:
            copy.close()
    return TextFacts(bad=tuple(bad), lines=number, ends=last == b"\n")


def _scan_lines(text: bytes, before: int, bad: list[tuple[int, str]], copy: object) -> int:
    """Check whole lines, the first of which is line ``before`` + 1; how many there were."""
    write = getattr(copy, "write", None)
    if _sound(text) and max(map(len, text.split(b"\n"))) <= MAX_LINE_BYTES:
        if write:
            write(text)
        return text.count(b"\n") + (not text.endswith(b"\n"))
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for i, line in enumerate(lines, 1):
        reason = _reason(line)
        if reason:
            bad.append((before + i, reason))
        if write:
            write((b"" if reason else line) + b"\n")
    return len(lines)


def _sound(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in text and SEPARATOR.encode() not in text


def _reason(line: bytes) -> str | None:
    if len(line) > MAX_LINE_BYTES:
        return _too_long()
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte {error.start} of the line is not UTF-8: save the file as UTF-8"
    if b"\0" in line or SEPARATOR.encode() in line:
        return "the line holds a control character, as a damaged file does: write it again"
    return None


def _too_long() -> str:
    return f"the line is longer than {MAX_LINE_BYTES:,} bytes: leave out of the context what is so long"
