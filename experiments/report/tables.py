"""HTML of tables and of the few other elements of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from fairlead.experiments.files import printable
from fairlead.experiments.ope.intervals import Estimate


def text(content: str) -> str:
    """Return HTML of text from data: no tags, and escapes for what would turn the direction of writing."""
    return escape(printable(content))


def number(value: float, digits: int = 4, *, sign: bool = False) -> str:
    """Format a number, or a dash if it is not finite."""
    if not math.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def ends(estimate: Estimate, digits: int = 4, *, sign: bool = False, scale: float = 1.0) -> list[str]:
    """Format the value and both ends of the interval."""
    return [
        number(scale * value, digits, sign=sign) for value in (estimate.value, estimate.low, estimate.high)
    ]


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, strong: str = "", text_columns: Sequence[int] = ()
) -> str:
    """Build a table that scrolls if it is too wide; the row whose first cell is ``strong`` stands out."""
    head = "".join(f"<th scope='col'>{text(name)}</th>" for name in heads)
    body = []
    for row in rows:
        cells = "".join(
            f"<td{' class=text' if i in text_columns else ''}>{text(cell)}</td>" for i, cell in enumerate(row)
        )
        body.append(f"<tr{' class=strong' if row[0] == strong else ''}>{cells}</tr>")
    return (
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def details(summary: str, content: str) -> str:
    """Content that opens at a click on its summary."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def figure(name: str, value: str, note: str) -> str:
    """One number of the first screen."""
    return (
        f"<div class=figure><div class=name>{text(name)}</div><div class=value>{text(value)}</div>"
        f"<div class=note>{text(note)}</div></div>"
    )
