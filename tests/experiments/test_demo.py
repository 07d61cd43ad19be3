"""The demonstration: quick, and it shows what it promises."""

from __future__ import annotations

import io
import time

from rich.console import Console

from experiments.demo import run_demo


def test_the_demo_shows_what_was_learned_and_saved() -> None:
    started = time.perf_counter()
    screen = io.StringIO()
    run_demo(Console(file=screen, width=120))
    text = " ".join(screen.getvalue().split())
    assert time.perf_counter() - started < 15.0
    for said in ("synthetic data", "What it earned", "who serves what", "Saved", "Price cut", "Outage"):
        assert said in text
