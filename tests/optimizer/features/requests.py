"""Requests that featurisers are tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    text: str | None = None
    task: str | None = None
    attributes: Mapping[str, str | float | bool] = field(default_factory=dict)
    embedding: NDArray[Any] | None = None


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
    Request(),
    Request(text=""),
    Request(text=" \n\t "),
    Request(text="What is the wind at sea?", task="weather"),
    Request(text="Bake bread with flour and salt.", task="weather", attributes={"tier": "gold"}),
    Request(text='def f(x):\n    return x ** 2  # 100 %\n```json\n{"a": [1, 2]}\n```', task=""),
    Request(text="A) yes\nB) no\nAnswer:", attributes={"tools": 3, "stream": True, "temperature": -0.5}),
    Request(text="天気はどうですか？ 東京 №7 naïve café", task="天気", attributes={"språk": "日本語"}),
    Request(text="\ud800 lone \udfff \x00 NULs \x00", task="\udc80", attributes={"\ud800": "\ud800"}),
    Request(text="boat " * 40_000, attributes={"huge": 1e308, "tiny": -5e-324}),
    Request(text="a" * 100_000, embedding=embedding(1)),
    Request(text="{" * 30_000, embedding=np.zeros(EMBEDDING_WIDTH)),
    Request(task="weather", embedding=1e300 * embedding(2)),
    Request(text="🙂" * 500, embedding=1e-320 * np.ones(EMBEDDING_WIDTH)),
)
