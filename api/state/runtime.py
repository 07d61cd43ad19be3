"""How Python runs in a process that keeps open decisions and writes a log."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fairlead.optimizer.features import SurfaceFeatures
from fairlead.optimizer.features.encoder import Encoder
from fairlead.optimizer.features.terms import MIN_KEY_BYTES, TermCounter
from fairlead.optimizer.features.text import TEXT_WIDTH, TextEncoder
from fairlead.optimizer.learning.unread_terms import UnreadTerms
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Context, Feedback, Outcome, Prices, Provider, Route


def tune_for_serving() -> None:
    """Collect garbage rarely and switch between threads quickly from now on.

    Open decisions are hundreds of thousands of objects that stay. Scanning all of them as often as Python
    does by default took a fifth of the processor time, and paused everything for up to a tenth of a second.
    The writer's thread waited up to 5 ms for its turn, several times in each commit.
    """
    gc.set_threshold(20_000, 50, 10)
    sys.setswitchinterval(0.001)


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause garbage collection: folding makes millions of objects that stay and form no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def lower_thread_priority() -> None:
    """Let this thread run only while the others leave the processor idle, on systems that support it.

    With as many busy threads as cores, a thread that fits beliefs delayed every answer for as long as it ran.
    """
    if sys.platform == "linux":
        # Only Linux has priorities per thread; elsewhere this would slow the whole process.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def warm_up() -> None:
    """Decide and learn a few times on an unused route, so that no request waits for compilation or imports.

    It takes seconds the first time on a machine, and a few milliseconds afterwards.
    """
    prices = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=1.0)
    route = Route(
        name="warming",
        providers=(Provider(name="a", prices=prices), Provider(name="b", prices=prices)),
        budget=Budget(usd_per_request=0.001),
    )
    router = Router(route, encoder=Encoder([SurfaceFeatures()]))
    counter = TermCounter(bytes(MIN_KEY_BYTES))
    for i, draw in enumerate(np.random.default_rng(0).random(3).tolist()):
        context = Context(text="a request", terms=counter.count("a request"))
        decision = router.decide(context, decision_id=str(i), draw=draw, at_s=float(i))
        router.learn(decision)
        router.learn(
            Outcome(decision_id=str(i), served_provider=decision.selected, cost_usd=0.001, latency_s=1.0)
        )
        router.learn(Feedback(decision_id=str(i), value=draw))
    # Fitting one would import scikit-learn, which takes a second that only the process of a fit need wait.
    encoder = TextEncoder(
        {
            "columns": np.zeros(1, dtype=np.int32),
            "idf": np.ones(1),
            "components": np.ones((1, TEXT_WIDTH), dtype=np.float32),
            "centre": np.zeros(TEXT_WIDTH),
            "scale": np.array(1.0),
            "key_id": np.frombuffer(counter.key_id, dtype=np.uint8),
        }
    )
    UnreadTerms().update(encoder.unread(counter.count("a request")))
    encoder.encode_many([counter.count("a request")])
    encoder.encode(counter.count("a request"))
