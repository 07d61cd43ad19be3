"""Files of plain arrays: written completely or not at all, and read only if intact.

A file is an ordinary .npz archive that `numpy.load` opens without pickles. Its archive comment is
the blake2b of every byte before it, so a change anywhere in the file is noticed before any part of
it is parsed.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.persistence.atomic_file import write_atomically

_DIGEST_CHARS: Final = 64
_KIND, _FORMAT = "kind", "format"


class FeatureFileError(ValueError):
    """A file that cannot be used: damaged, cut short, or of another kind."""


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]], *, kind: str, version: int) -> None:
    """Write the arrays to `path`, replacing what was there in one step.

    `kind` says what the arrays are and `version` how they are laid out; `read_arrays` asks for both.
    """
    labelled = {**arrays, _KIND: np.array(kind), _FORMAT: np.array(version, dtype=np.int64)}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.comment = b"0" * _DIGEST_CHARS
        for name in sorted(labelled):
            # A ZipInfo has a fixed date, so that the same arrays give the same file.
            with members.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, labelled[name], allow_pickle=False)
    body = archive.getvalue()[:-_DIGEST_CHARS]
    write_atomically(path, body + _digest(body))


def read_arrays(path: str | Path, *, kind: str, version: int) -> dict[str, NDArray[Any]]:
    """Read the arrays that `write_arrays` wrote; raises `FeatureFileError` if the file is not intact."""
    content = Path(path).read_bytes()
    body, digest = content[:-_DIGEST_CHARS], content[-_DIGEST_CHARS:]
    if not body or _digest(body) != digest:
        raise FeatureFileError(
            f"{path} is damaged, cut short or not a {kind} file: its checksum does not fit its "
            f"{len(content)} bytes; restore it from a copy or fit and save again"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    label = str(arrays.pop(_KIND)), int(arrays.pop(_FORMAT))
    if label != (kind, version):
        raise FeatureFileError(
            f"{path} is a {label[0]} file in format {label[1]}, but a {kind} file in format {version} "
            "is needed: point to another file, or fit and save again with this release"
        )
    return arrays


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=_DIGEST_CHARS // 2).hexdigest().encode()
