"""The circuit of a provider: closed, open or half open, as a function of the calls that are kept of it.

A provider in an outage fails nearly every call, which a rate that is averaged over hundreds of calls shows
far too late, and forgets too late afterwards. So a test compares call by call how well an outage explains
what came, and how well what the provider did before does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.compiled import compiled

CircuitState = Literal["closed", "open", "half_open"]

OUTAGE_RATE: Final = 0.9
"""Share of calls that fail in an outage."""

EXPECTED_FAILURE: Final[Mapping[CircuitState, float]] = {"closed": 0.0, "half_open": 0.5, "open": OUTAGE_RATE}
"""Least share of calls that are expected to fail, by the state of the circuit."""

PROBE_SHARE: Final = 0.04
"""Largest share of requests for a provider whose circuit is open: less than one in twenty."""

HALF_OPEN_SHARE: Final = 0.2
"""Largest share of requests for a provider whose circuit is half open."""

SUCCESSES_TO_CLOSE: Final = 3
"""Consecutive successes, the first of which half opens the circuit, that close it."""

HALF_LIFE: Final = 256.0
"""Decisions of the route after which a call counts half."""

USUAL_RATE: Final = 0.02
"""Share of failures expected of a provider of which nothing is known; the test reckons with no less."""

_USUAL_CALLS: Final = 10.0
_THRESHOLD: Final = math.log(50_000.0)
_STATES: Final[tuple[CircuitState, ...]] = ("closed", "open", "half_open")


class Circuit(NamedTuple):
    """Where a circuit stands."""

    state: CircuitState
    since_seq: int
    """Decision whose outcome brought this state; -1 if there was none."""
    failures: int
    """Failures in a row up to now, or since it opened, that say so."""


CLOSED: Final = Circuit("closed", -1, 0)


def scan(seqs: NDArray[np.int64], failed: NDArray[np.bool_]) -> tuple[Circuit, NDArray[np.bool_]]:
    """Return the circuit after these calls, by seq, and which of them count towards the failure rate.

    A closed circuit opens when the log likelihood ratio of an outage against the provider's own history,
    summed since it was last 0 (Page's CUSUM), reaches log 50,000: about one false alarm per that many calls.
    The history includes the calls in question, so that a provider that fails three calls in ten needs ten
    failures in a row, one that has been well three, and a new one six. The calls of the run that
    opened a circuit and failures while it is open belong to the outage, and not to the failure rate. What
    follows a success counts, even if it fails: a provider that fails half of its calls closes its circuit and
    is judged by its rate.

    Page (1954), Continuous Inspection Schemes, Biometrika 41, 100-115.
    """
    counted = np.ones(len(seqs), dtype=np.bool_)
    state, since, failures = _scan(seqs, failed, counted)
    return Circuit(_STATES[state], int(seqs[since]) if since >= 0 else -1, failures), counted


@compiled
def _scan(
    seqs: NDArray[np.int64], failed: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> tuple[int, int, int]:
    """Fill in ``counted``; return the state's index, the index of the call that brought it, and failures."""
    state, since, failures, successes, start = 0, -1, 0, 0, 0
    total, bad, calls, bad_before, calls_before = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(seqs)):
        if i > 0:
            kept = 0.5 ** ((seqs[i] - seqs[i - 1]) / HALF_LIFE)
            bad, calls = bad * kept, calls * kept
            bad_before, calls_before = bad_before * kept, calls_before * kept
        if state == 0:
            if total == 0.0:
                start, bad_before, calls_before, failures = i, bad, calls, 0
            rate = max((bad + USUAL_RATE * _USUAL_CALLS) / (calls + _USUAL_CALLS), USUAL_RATE)
            outage, usual = (OUTAGE_RATE, rate) if failed[i] else (1.0 - OUTAGE_RATE, 1.0 - rate)
            total = max(total + math.log(outage / usual), 0.0)
            failures, bad, calls = failures + failed[i], bad + failed[i], calls + 1.0
            if total >= _THRESHOLD:
                state, since, total = 1, i, 0.0
                bad, calls = bad_before, calls_before
                counted[start : i + 1] = False
        elif failed[i]:
            failures += 1
            if state == 2:
                state, since = 1, i
                bad, calls = bad + 1.0, calls + 1.0
            else:
                counted[i] = False
        else:
            calls += 1.0
            successes = successes + 1 if state == 2 else 1
            if state == 1:
                state, since = 2, i
            if successes >= SUCCESSES_TO_CLOSE:
                state, since, total, failures = 0, i, 0.0, 0
    return state, since, failures
