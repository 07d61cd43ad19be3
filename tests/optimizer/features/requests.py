"""Requests that featurisers are tested on."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.types import Context


class Watched(str):
    """A text that notes how much of it is read, and lets itself be read in slices only."""

    read = 0

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        part = str.__getitem__(self, key)
        self.read += len(part)
        return part

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name == "read":
            return super().__getattribute__(name)
        raise AssertionError(f"{name} would read all of the text")


EMBEDDING_WIDTH = 12
TOPICS = """
bake the bread in a hot oven with flour butter salt and a little sugar until brown
trim the jib before the wind and steer the boat past harbour buoys toward open sea
"""
COOKING, SAILING = (line.split() for line in TOPICS.strip().splitlines())


def sentences(words: list[str], *, n: int, seed: int) -> list[str]:
    """n sentences of eight of the words each."""
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(words, size=8)) + "." for _ in range(n)]


def prompts() -> list[str]:
    """Sixty prompts about two topics."""
    return sentences(COOKING, n=30, seed=1) + sentences(SAILING, n=30, seed=2)


def embedding(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=EMBEDDING_WIDTH)


REQUESTS = (
    Context(),
    Context(text=""),
    Context(text=" \n\t "),
    Context(text="What is the wind at sea?", task="weather"),
    Context(text="Bake bread with flour and salt.", task="weather", attributes={"tier": "gold"}),
    Context(text='def f(x):\n    return x ** 2  # 100 %\n```json\n{"a": [1, 2]}\n```', task=""),
    Context(text="A) yes\nB) no\nAnswer:", attributes={"tools": 3, "stream": True, "temperature": -0.5}),
    Context(text="天気はどうですか？ 東京 №7 naïve café", task="天気", attributes={"språk": "日本語"}),
    Context(text="\ud800 lone \udfff \x00 NULs \x00", task="\udc80", attributes={"\ud800": "\ud800"}),
    Context(text="boat " * 40_000, attributes={"huge": 1e308, "tiny": -5e-324}),
    Context(text="a" * 100_000, embedding=embedding(1)),
    Context(text="{" * 30_000, embedding=np.zeros(EMBEDDING_WIDTH)),
    Context(task="weather", embedding=1e300 * embedding(2)),
    Context(text="🙂" * 500, embedding=1e-320 * np.ones(EMBEDDING_WIDTH)),
)
