"""Placement of the names of points in a plot, so that they cover each other, marks and lines least.

Everything is in pixels from the left and from the top of the plot.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

SIZE: Final = 11  # of the letters
_LETTER: Final = 0.55 * SIZE  # mean width of a letter
_LINE: Final = 1.2 * SIZE
_LONGEST_WITHOUT_LEADER: Final = 16.0
_GAPS: Final = (9.0, 20.0, 34.0, 50.0)
_SIDES: Final = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))

Point = tuple[float, float]
_Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Label:
    """A name, the point `at` which its text starts or ends, and the end of its leader, if it has one."""

    name: str
    at: Point
    side: Literal["left", "right"]
    """Which side of the text is at the point."""
    leader: Point | None


@dataclass(frozen=True)
class Plot:
    """What a label must not cover: `marks`, which may be points with names, and `strokes` along the lines."""

    width: float
    height: float
    marks: Sequence[Point]
    strokes: Sequence[Point]
    boxes: list[_Box] = field(default_factory=list)

    def label(self, name: str, point: Point) -> Label:
        """Put the name into the box that does least harm, given the boxes before it; nearest first."""
        box = min(_candidates(name, point), key=lambda box: self._clutter(box, point))
        self.boxes.append(box)
        left, top, right, bottom = box
        end = _nearest(box, point)
        return Label(
            name=name,
            at=(right if right < point[0] else left, (top + bottom) / 2),
            side="right" if right < point[0] else "left",
            leader=end if math.dist(point, end) > _LONGEST_WITHOUT_LEADER else None,
        )

    def _clutter(self, box: _Box, point: Point) -> float:
        """Weigh the harm of a box: outside the plot, over names, marks or lines, far off, bad leader."""
        left, top, right, bottom = box
        others = [mark for mark in self.marks if mark != point]
        outside = left < 2 or top < 2 or right > self.width + 8 or bottom > self.height - 2
        shared = sum(
            left < b[2] + 4 and b[0] < right + 4 and top < b[3] + 1 and b[1] < bottom + 1 for b in self.boxes
        )
        hidden = sum(left - 18 < x < right + 18 and top - 7 < y < bottom + 7 for x, y in others)
        crossed = sum(left - 2 < x < right + 2 and top - 1 < y < bottom + 1 for x, y in self.strokes)
        end = _nearest(box, point)
        leader = [_between(point, end, share) for share in (0.3, 0.5, 0.7, 0.9)]
        struck = sum(math.dist(spot, mark) < 9.0 for spot in leader for mark in others)
        harm = 200.0 * outside + 100.0 * shared + 60.0 * hidden + 20.0 * struck + 8.0 * crossed
        return harm + math.dist(point, end)


def points_along(corners: Sequence[Point]) -> list[Point]:
    """Points a letter's height apart or closer along the line through the corners, but for its end."""
    points = []
    for start, end in itertools.pairwise(corners):
        count = math.ceil(math.dist(start, end) / SIZE)
        points += [_between(start, end, i / count) for i in range(count)]
    return points


def _candidates(name: str, point: Point) -> Iterable[_Box]:
    """Boxes for a name around its point, the nearest first."""
    width = _LETTER * len(name)
    for gap, (across, down) in itertools.product(_GAPS, _SIDES):
        reach = gap if across == 0 or down == 0 else 0.8 * gap
        left = point[0] + across * (reach + width / 2) - width / 2
        top = point[1] + down * (reach + _LINE / 2) - _LINE / 2
        yield left, top, left + width, top + _LINE


def _nearest(box: _Box, point: Point) -> Point:
    left, top, right, bottom = box
    return min(max(point[0], left), right), min(max(point[1], top), bottom)


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
