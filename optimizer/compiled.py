"""Loops over numbers, compiled to machine code where numba is installed and run as plain Python where not.

Compiled and plain, a function gives the same bits: no reordering of sums is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function compiled at its first call, kept on disk beside its module for the next process."""
    try:
        from numba import njit
    except ImportError:
        return function
    try:
        return cast(F, njit(cache=True)(function))
    except RuntimeError:  # nowhere to write: compiled anew in each process
        return cast(F, njit(function))
