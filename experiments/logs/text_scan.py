"""What only the bytes of a text file show: its encoding, gigantic lines, an end that is cut short."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MAX_LINE_BYTES: Final = 1 << 20
SEPARATOR: Final = "\x01"
"""A character that no readable line holds: JSON and CSV alike write control characters in another way."""

_BLOCK: Final = 1 << 22
_TOO_LONG: Final = (
    f"the line is longer than {MAX_LINE_BYTES:,} bytes: leave out of the context what is so long"
)


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """Lines that cannot be read, as (number from 1, reason), the number of lines, and whether the last ends.

    ``ends`` is False if the file has no line break at its end, as while it is still being written.
    """

    bad: tuple[tuple[int, str], ...]
    lines: int
    ends: bool


def scan_text(path: Path, *, copy_to: Path | None = None) -> TextFacts:
    """Go through the file once, in blocks, and copy it to ``copy_to`` with bad lines left empty."""
    with ExitStack() as stack:
        copy = stack.enter_context(copy_to.open("wb")) if copy_to is not None else None
        scan = _Scan(copy)
        file = stack.enter_context(path.open("rb"))
        carry, last = b"", b"\n"
        while block := file.read(_BLOCK):
            last = block[-1:]
            if scan.skipping:
                block = scan.skip(block)
            lines, newline, carry = (carry + block).rpartition(b"\n")
            if newline:
                scan.check(lines + newline)
            if len(carry) > MAX_LINE_BYTES:
                scan.begin_gigantic_line()
                carry = b""
        if carry:
            scan.check(carry)
    return TextFacts(bad=tuple(scan.bad), lines=scan.lines, ends=last == b"\n")


class _Scan:
    """The lines checked so far; ``skipping`` while in the rest of a gigantic line."""

    def __init__(self, copy: BinaryIO | None) -> None:
        self.bad: list[tuple[int, str]] = []
        self.lines = 0
        self.skipping = False
        self._copy = copy

    def begin_gigantic_line(self) -> None:
        self.lines += 1
        self.bad.append((self.lines, _TOO_LONG))
        self.skipping = True

    def skip(self, block: bytes) -> bytes:
        """Skip the rest of a gigantic line, and return what follows it in the block."""
        _, newline, rest = block.partition(b"\n")
        self.skipping = not newline
        if newline:
            self._write(b"\n")
        return rest

    def check(self, text: bytes) -> None:
        """Check lines, the last of which may lack its line break."""
        lines = text.removesuffix(b"\n").split(b"\n")
        if _reason(text) is None and max(map(len, lines)) <= MAX_LINE_BYTES:  # usually all lines at once
            self._write(text)
            self.lines += len(lines)
            return
        for line in lines:
            self.lines += 1
            reason = _TOO_LONG if len(line) > MAX_LINE_BYTES else _reason(line)
            if reason:
                self.bad.append((self.lines, reason))
            self._write((b"" if reason else line) + b"\n")

    def _write(self, text: bytes) -> None:
        if self._copy is not None:
            self._copy.write(text)


def _reason(text: bytes) -> str | None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte {error.start} of the line is not UTF-8: save the file as UTF-8"
    if b"\0" in text or SEPARATOR.encode() in text:
        return "the line holds a control character, as a damaged file does: write it again"
    return None
