"""Learning features of texts in a process of its own, which reads a file and returns a line of the log."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Final

from fairlead.optimizer.learning.text_learner import TextLearner
from fairlead.optimizer.persistence.array_file import read_arrays, write_arrays
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types.arrays import State

_KIND: Final = "fairlead texts"


def save_texts(path: Path, state: State) -> None:
    """Write the state of a `TextLearner` for `fit_line`."""
    write_arrays(path, state, kind=_KIND, version=1)


def fit_line(path: Path) -> tuple[str, str]:
    """Learn features from the texts of a file; returns the line of the event, and its digest."""
    learner = TextLearner()
    learner.restore(read_arrays(path, kind=_KIND, version=1))
    line = encode(learner.fit())
    return line, blake2b(line.encode(), digest_size=16).hexdigest()
