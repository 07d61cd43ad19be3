"""Loops over numbers, compiled to machine code where numba is installed and run as plain Python where not.

Compiled and plain, a function gives the same bits: no reordering of sums is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

IS_COMPILED = find_spec("numba") is not None
"""Whether loops are compiled here, so that long ones are worth writing out."""


def compiled(function: F) -> F:
    """The function compiled at its first call, kept on disk beside its module for the next process."""
    return _compile(function, nogil=False)


def compiled_aside(function: F) -> F:
    """As `compiled`, for what takes milliseconds: other threads of the process go on meanwhile."""
    return _compile(function, nogil=True)


def _compile(function: F, *, nogil: bool) -> F:
    if not IS_COMPILED:
        return function
    from numba import njit

    try:
        return cast(F, njit(cache=True, nogil=nogil)(function))
    except RuntimeError:  # nowhere to write: compiled anew in each process
        return cast(F, njit(function, nogil=nogil))
