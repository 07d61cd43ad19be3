"""The demonstration shows what it promises, and the router earns it."""

from __future__ import annotations

import io
import re

from rich.console import Console

from fairlead.experiments.simulation.demo import run_demo


def test_the_demo_shows_what_was_learned_and_saved() -> None:
    screen = io.StringIO()
    run_demo(Console(file=screen, width=120))
    text = " ".join(screen.getvalue().split())
    for said in ("synthetic data", "What it earned", "serves which task", "Saved", "Price cut", "Outage"):
        assert said in text
    lift = {name: float(value) for name, value in re.findall(r"│ (router|uniform) .*?([+-][0-9.]+) │", text)}
    assert lift["router"] > 0.05 > lift["uniform"]
    before, after = re.findall(r"its share went from (\d+)% to (\d+)% within", text)[0]
    assert int(after) >= int(before) + 5
