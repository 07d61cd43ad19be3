"""Learned state as a file: a cache of the log, used whole or not at all.

A snapshot is a file of plain arrays as in `fairlead.optimizer.persistence.array_file`: written in one
step, under a checksum, without pickles. A damaged one is never repaired; the state is
folded from the log again.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.array_file import read_arrays, write_arrays

FORMAT: Final = 4

_KIND: Final = "snapshot"
_META: Final = "meta"
# A prefix keeps the names of the arrays apart from those of the file itself.
_ARRAY: Final = "array/"

Meta = Mapping[str, str | int | float | None]


class SnapshotError(ValueError):
    """A snapshot that cannot be used: delete it, and rebuild the state from the log."""


def write_snapshot(path: str | Path, arrays: Mapping[str, NDArray[Any]], *, meta: Meta) -> None:
    """Write arrays and metadata to ``path``; a crash leaves the old snapshot or the new one."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise InvalidInput(f"array {name!r} holds Python objects: give numbers, truth values or text")
    for name, value in meta.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise InvalidInput(f"meta {name!r} is {value!r}: give text, a number or None")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(f"meta {name!r} is {value!r}: give a finite number or None")
    packed_meta = np.frombuffer(json.dumps(dict(meta), allow_nan=False).encode("ascii"), dtype=np.uint8)
    content = {_META: packed_meta, **{_ARRAY + name: array for name, array in arrays.items()}}
    write_arrays(path, content, kind=_KIND, version=FORMAT)


def read_snapshot(
    path: str | Path, *, expected: Meta | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, str | int | float | None]]:
    """Read the arrays and metadata that `write_snapshot` wrote.

    Raises `SnapshotError` if one byte is not as it was written, or if the metadata differ from those
    ``expected``, so that the snapshot is of something else.
    A file that does not exist raises `FileNotFoundError`: having no snapshot yet is no fault.
    """
    try:
        content = read_arrays(path, kind=_KIND, version=FORMAT)
        meta = json.loads(content.pop(_META).tobytes())
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SnapshotError(
            f"{path} is no snapshot that this release can use, because it is damaged, cut short or of "
            "another kind or format: delete it, and the state is rebuilt from the log"
        ) from error
    for name, value in (expected or {}).items():
        if meta.get(name) != value:
            raise SnapshotError(
                f"{path} was saved for another {name} ({meta.get(name)!r}, not {value!r}): delete it, and "
                "rebuild the state from the log"
            )
    return {name.removeprefix(_ARRAY): array for name, array in content.items()}, meta
