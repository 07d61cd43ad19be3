"""Loops over numbers, compiled to machine code if numba is installed, and run as plain Python if not.

A function gives the same bits either way: no reordering of sums is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

IS_COMPILED = find_spec("numba") is not None
"""Whether loops are compiled, so that it pays to write them out."""


def compiled(function: F) -> F:
    """Compile a function at its first call, and cache it on disk for the next process."""
    return _compile(function, nogil=False)


def compiled_aside(function: F) -> F:
    """Compile a function that takes milliseconds, so that other threads go on while it runs."""
    return _compile(function, nogil=True)


def _compile(function: F, *, nogil: bool) -> F:
    if not IS_COMPILED:
        return function
    from numba import njit

    try:
        return cast(F, njit(cache=True, nogil=nogil)(function))
    except RuntimeError:  # no writable cache: each process compiles
        return cast(F, njit(function, nogil=nogil))
