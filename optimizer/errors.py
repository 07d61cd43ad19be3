"""Errors, each in one sentence with the value, the reason and the remedy, and the checks that raise them."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Final

EXTRA_OF: Final = {
    "altair": "report",
    "distributed": "dask",
    "duckdb": "replay",
    "psycopg": "postgres",
    "vl_convert": "report",
}
"""Optional module → the extra of the distribution `fairlead` that installs it."""


class InvalidInput(ValueError):
    """A value that no model may see; nothing has changed."""


class NoEligibleProvider(ValueError):
    """Every provider was ruled out; the message says by what, provider by provider."""


class BudgetSpent(NoEligibleProvider):
    """No provider's expected cost fits what a hard budget has left; ``end_s`` says until when."""

    def __init__(self, message: str, *, end_s: float) -> None:
        super().__init__(message)
        self.end_s = end_s


class UnknownDecision(KeyError):
    """An outcome or feedback names a decision that this router does not hold."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class MissingExtra(ImportError):
    """An optional dependency is not installed; the message names the extra to install."""


def require(module: str, *, purpose: str) -> None:
    """Raise `MissingExtra` if an optional module is not installed; ``purpose`` begins the sentence.

    Call it before the module is imported, or in the `__init__` of a package whose files all import it.
    """
    try:
        missing = find_spec(module) is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        raise MissingExtra(
            f"{purpose} needs {module}, which is not installed: pip install 'fairlead[{EXTRA_OF[module]}]'",
            name=module,
        )


def plain_text(name: str, value: object) -> str:
    """Return ``value`` if it is text that logs and files can hold, else raise `InvalidInput`."""
    if not isinstance(value, str) or "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
        raise InvalidInput(f"{name} is {value!r}: give text without NUL characters and lone surrogates")
    return value


def finite(name: str, value: float, *, low: float = -math.inf, high: float = math.inf, remedy: str) -> float:
    """Return ``value`` as a float if it is finite and within [low, high], else raise `InvalidInput`."""
    try:
        # Text would stay text in the record that is checked here, and fail where it is added up.
        number = float("" if isinstance(value, str | bytes) else value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{name} is {value!r}, which is not a number: {remedy}") from None
    if isinstance(value, bool) or not math.isfinite(number):
        raise InvalidInput(f"{name} is {value!r}, which is not a finite number: {remedy}")
    if not low <= number <= high:
        raise InvalidInput(f"{name} is {number:g}, outside [{low:g}, {high:g}]: {remedy}")
    return number


def check_amounts(record: object, *names: str, low: float = 0, high: float, remedy: str) -> None:
    """Raise `InvalidInput` unless each of these attributes is None or a number within [low, high]."""
    for name in names:
        value = getattr(record, name)
        # The quick test first: the check that explains what is wrong takes longer.
        if value is None or ((type(value) is float or type(value) is int) and low <= value <= high):
            continue
        finite(name, value, low=low, high=high, remedy=remedy)
