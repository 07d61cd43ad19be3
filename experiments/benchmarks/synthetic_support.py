"""The generator of the bundled outcome table, with which anyone can try Fairlead without data.

Run `python -m fairlead.experiments.benchmarks.synthetic_support` to write the file again.

A seeded grammar writes the prompts, and their difficulty can be read from the text: a harder opening, more
conditions. Six invented providers have usual ratios of price and strengths of their own: the small ones do as
well as the large ones on easy work, `synthetic/code` does on code, and `synthetic/reason` is best at
mathematics but wordy. None is best everywhere. Nothing here measures a real model or is copied from real
traffic.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from fairlead.experiments.files import DATA_FOLDER, connect

SEED = 20260301
N_PROMPTS = 3000
DATA_PATH = DATA_FOLDER / "synthetic_support.parquet"


@dataclass(frozen=True)
class _Task:
    """A kind of request: its share of traffic, the mean length of an answer, and its sentences.

    `openings` pair a difficulty, 0 to 1, with a text; each of `conditions` adds `_CONDITION` to it. Answers
    are right or wrong where `graded` is false.
    """

    share: float
    output_tokens: float
    graded: bool
    openings: tuple[tuple[float, str], ...]
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class _Provider:
    """An invented provider: its prices, its ability per task in the order of `_TASKS`, and its manners.

    An ability is the difficulty of a prompt that it half solves. `verbosity` scales the length of answers,
    `thinking_tokens` are added at a difficulty of 1. `start_s` and `tokens_per_s` make up the latency.
    """

    usd_per_million_input: float
    usd_per_million_output: float
    ability: tuple[float, ...]
    verbosity: float
    thinking_tokens: float
    start_s: float
    tokens_per_s: float


_CONDITION = 0.13
_UNSEEN = 0.07  # standard deviation of the difficulty that the text does not show
_SHARED = 0.6  # correlation of the luck of different providers on one prompt
_SYSTEM_TOKENS, _LETTERS_PER_TOKEN = 80, 4.2

_RANGES = {"n": (12, 980), "small": (2, 9), "day": (11, 28)}
_WORDS = {
    "product": ("Harbour Mail", "Tidebook", "Lantern Drive", "Quayside CRM", "Pilot Pay", "Anchor Desk"),
    "person": ("Mara Lind", "Tom Okafor", "Ines Duarte", "Jun Sato", "Petra Novak", "Ali Rahman"),
    "town": ("Bergen", "Porto", "Galway", "Trieste", "Gdansk", "Malmo"),
    "goods": ("desk lamps", "rain jackets", "coffee filters", "cable drums", "garden chairs", "bike pumps"),
    "month": ("January", "March", "April", "June", "September", "November"),
    "language": ("French", "Polish", "Japanese", "Portuguese", "Norwegian", "Arabic"),
    "code": ("Python", "TypeScript", "Go", "Java", "Rust", "SQL"),
    "items": ("orders", "invoices", "log lines", "sensor readings", "bookings", "parcels"),
    "contract": ("lease", "licence agreement", "supply contract", "service agreement", "loan deed"),
    "country": ("Ireland", "Portugal", "Norway", "Poland", "Italy", "Denmark"),
}
_TASKS = {
    "support-faq": _Task(
        0.28, 130, True,
        ((0.02, "How do I reset my password for {product}?"),
         (0.04, "Where can I download the {month} invoice in {product}?"),
         (0.08, "Can I change the email address of my {product} account? I moved to {town}."),
         (0.20, "{product} charged me {n} euros twice in {month}. What should I do?"),
         (0.34, "Since the {month} update {product} no longer syncs with {product}. Help me fix it.")),
        ("I already restarted and signed in again, and it did not help.",
         "My colleague {person} sees the same only on the phone, not in the browser.",
         "We are on the team plan with {n} seats, and the bill goes to another company.",
         "Please say which of these steps would delete data, because we must keep it for {small} years.",
         "The refund policy says {small} days, but the trial ended on a public holiday in {town}."),
    ),
    "extraction": _Task(
        0.18, 70, True,
        ((0.05, "Extract name and town as JSON: '{person} from {town} ordered {n} {goods}.'"),
         (0.10, "List the dates in: 'Delivery on {day} {month}, return until {day} {month}.'"),
         (0.16, "Extract buyer, goods and amount as JSON: '{person} took {n} {goods} for {n} euros.'"),
         (0.36, "Give a JSON row per order: '{n} {goods} for {person}, the same less {small} for {town}.'")),
        ("Amounts may be in several currencies; normalise them to euros at {small}.{day} per unit.",
         "Dates are relative to {day} {month}; resolve 'next Tuesday' and 'a fortnight later'.",
         "If a field is contradicted later in the message, keep both values and mark the conflict.",
         "Names may be written last name first; {person} is the seller and must not appear."),
    ),
    "code": _Task(
        0.18, 260, False,
        ((0.12, "Write a {code} function that sums the amounts of a list of {items}."),
         (0.20, "Why does it skip the last of {n} {items}?\n```\nfor i in range(n - 1):\n    use(i)\n```"),
         (0.26, "Write a {code} function that groups {items} by day and returns the {small} largest groups."),
         (0.42, "Implement in {code} a cache for {n} {items} in which entries expire after {small} minutes."),
         (0.58, "Design in {code} a scheduler that merges {small} sorted streams of {items} after a crash.")),
        ("It must be safe when {small} threads call it at once, without a global lock.",
         "Inputs have up to 10^{small} rows, so it has to run in O(n log n) time and constant memory.",
         "Add unit tests, including for empty input, duplicates and a change of daylight saving time.",
         "Explain why `assert total(rows) == {n}` failed before and cannot fail now."),
    ),
    "mathematics": _Task(
        0.12, 180, False,
        ((0.08, "Compute {n} + {n} × {small}."),
         (0.24, "A box of {n} {goods} costs {n} euros. What do {small} boxes cost with {day} % off?"),
         (0.36, "A train leaves {town} at {small}:{day} and covers {n} km at {n} km/h. When does it arrive?"),
         (0.46, "Solve for x and y: {small}x + {day}y = {n} and {day}x − {small}y = {n}."),
         (0.66, "In how many ways can {day} {items} be put in {small} queues so that no queue is empty?")),
        ("Give the exact fraction, then round to {small} decimals.",
         "Then let the first number grow by {small} % a month for {day} months, and prove your formula.",
         "Find the smallest integer for which the result exceeds {n}, and show that no smaller one works."),
    ),
    "translation": _Task(
        0.12, 90, True,
        ((0.12, "Translate into {language}: 'Your parcel arrives in {town} on {day} {month}.'"),
         (0.22, "Translate into {language}: 'Dear {person}, we regret that your {goods} are late.'"),
         (0.44, "Translate into {language}, as an advertisement: 'Our {goods} weather anything. You too.'")),
        ("Keep the tone formal and the sentence under {n} characters.",
         "Keep the pun, or find one that readers in {town} would smile at.",
         "The text goes to court, so mark every word with more than one legal meaning.",
         "Give a second version in dialect as spoken near {town}."),
    ),
    "legal-analysis": _Task(
        0.12, 380, True,
        ((0.20, "Put plainly: 'The {goods} shall be returned within {small} weeks of the {contract} end.'"),
         (0.44, "Who bears the risk under this {contract} if {goods} are lost between {town} and {town}?"),
         (0.56, "Is a notice of {day} days in the {contract} of {person} valid under the law of {country}?"),
         (0.64, "The {contract} is silent on termination. What remedy has {country} for {small} breaches?")),
        ("The law of {country} governs, but performance takes place in {country}.",
         "Clause {small} excludes liability except for gross negligence; test it against consumer law.",
         "Cite the counter-argument that {person} would raise, and say how a judge might weigh it.",
         "Clause {day} contradicts the annex, and the annex was signed {small} months later."),
    ),
}  # fmt: skip
# USD per million in and out, ability (support, extraction, code, mathematics, translation, law), and manners.
PROVIDERS = {
    "synthetic/nano": _Provider(0.05, 0.40, (0.46, 0.38, 0.12, 0.10, 0.24, 0.05), 0.9, 0, 0.20, 210),
    "synthetic/mini": _Provider(0.25, 2.00, (0.68, 0.62, 0.38, 0.34, 0.50, 0.36), 1.0, 0, 0.30, 150),
    "synthetic/code": _Provider(0.30, 1.20, (0.36, 0.56, 0.90, 0.40, 0.20, 0.18), 1.1, 0, 0.30, 140),
    "synthetic/standard": _Provider(1.25, 10.0, (0.82, 0.84, 0.66, 0.56, 0.80, 0.68), 1.0, 0, 0.55, 85),
    "synthetic/reason": _Provider(2.00, 12.0, (0.78, 0.82, 0.84, 1.10, 0.72, 0.84), 1.3, 900, 1.10, 95),
    "synthetic/frontier": _Provider(5.00, 25.0, (0.94, 0.92, 0.92, 0.84, 1.00, 1.02), 1.2, 200, 0.90, 60),
}


def _fill(text: str, rng: np.random.Generator) -> str:
    """Fill every slot of the text with a random word or number."""

    def draw(slot: re.Match[str]) -> str:
        if slot[1] in _WORDS:
            return _WORDS[slot[1]][int(rng.random() * len(_WORDS[slot[1]]))]
        low, high = _RANGES[slot[1]]
        return str(low + int(rng.random() * (high - low + 1)))

    return re.sub(r"\{(\w+)\}", draw, text)


def _prompt(rng: np.random.Generator) -> tuple[str, int, float]:
    """Draw a text, the position of its task, and the difficulty that the text shows."""
    edges = np.cumsum([task.share for task in _TASKS.values()])
    position = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    task = list(_TASKS.values())[position]
    difficulty, opening = task.openings[int(rng.random() * len(task.openings))]
    order = np.argsort([rng.random() for _ in task.conditions])
    count = int(rng.random() ** 2 * (len(order) + 1))  # most requests are plain
    sentences = [opening, *(task.conditions[i] for i in order[:count])]
    text = " ".join(_fill(sentence, rng) for sentence in sentences)
    return text, position, difficulty + _CONDITION * count


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Draw standard normal numbers from uniform ones, the least likely of NumPy's streams to change."""
    return np.asarray(ndtri(rng.random(shape).clip(1e-12, 1.0 - 1e-12)))


def generate(*, seed: int = SEED, n_prompts: int = N_PROMPTS) -> dict[str, list[Any]]:
    """Make the table by column, in the schema of `data/README.md`: equal seeds give equal values."""
    rng = np.random.default_rng(seed)
    prompts: dict[str, tuple[int, float]] = {}
    while len(prompts) < n_prompts:
        text, position, shown = _prompt(rng)
        prompts.setdefault(text, (position, shown))
    positions = np.array([position for position, _ in prompts.values()])
    shown_by_text = np.array([shown for _, shown in prompts.values()])
    outcomes = _outcomes(positions, shown_by_text, np.array([len(text) for text in prompts]), rng=rng)
    k = len(PROVIDERS)
    names = list(_TASKS)
    return {
        "prompt_id": [f"s{i:04}" for i in range(n_prompts) for _ in range(k)],
        "split": [None] * n_prompts * k,
        "task": [names[position] for position in positions for _ in range(k)],
        "prompt": [text for text in prompts for _ in range(k)],
        "model": list(PROVIDERS) * n_prompts,
        **{name: values.ravel().tolist() for name, values in outcomes.items()},
    }


def _outcomes(
    task: NDArray[np.int_], shown: NDArray[np.float64], letters: NDArray[np.int_], *, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Draw quality, cost, tokens and latency, (n, k), from tasks, difficulties and lengths, (n,)."""
    tasks, providers = list(_TASKS.values()), list(PROVIDERS.values())
    n, k = len(task), len(providers)
    difficulty = (shown + _UNSEEN * _normal(rng, n))[:, None]
    ability = np.array([provider.ability for provider in providers]).T[task]
    solved = 0.02 + 0.96 * expit((ability - difficulty) / 0.1)
    luck = np.sqrt(_SHARED) * _normal(rng, n, 1) + np.sqrt(1.0 - _SHARED) * _normal(rng, n, k)
    graded = np.array([kind.graded for kind in tasks])[task][:, None]
    quality = np.where(graded, (solved + 0.08 * luck).clip(0.0, 1.0).round(2), ndtri(solved) > luck)
    answer = np.array([kind.output_tokens for kind in tasks])[task][:, None] * (
        0.6 + difficulty.clip(0.0, 1.2)
    )
    length = answer * np.array([p.verbosity for p in providers])
    length += np.array([p.thinking_tokens for p in providers]) * difficulty.clip(0.1, 1.2)
    output_tokens = np.rint(length * np.exp(0.3 * _normal(rng, n, k))).astype(int)
    input_tokens = (
        np.rint(_SYSTEM_TOKENS + letters / _LETTERS_PER_TOKEN).astype(int)[:, None].repeat(k, axis=1)
    )
    cost = input_tokens * np.array([p.usd_per_million_input for p in providers]) / 1e6
    cost += output_tokens * np.array([p.usd_per_million_output for p in providers]) / 1e6
    pace = np.exp(0.2 * _normal(rng, n, k)) / np.array([p.tokens_per_s for p in providers])
    return {
        "quality": quality.astype(float),
        "cost_usd": cost.round(10),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "latency_s": (np.array([p.start_s for p in providers]) + output_tokens * pace).round(2),
    }


def write(path: Path = DATA_PATH) -> None:
    """Generate the table and write it as Parquet."""
    columns = generate()
    types = dict.fromkeys(columns, "VARCHAR") | dict.fromkeys(("quality", "cost_usd", "latency_s"), "DOUBLE")
    types |= dict.fromkeys(("input_tokens", "output_tokens"), "INTEGER")
    fields = ", ".join(f"unnest(?::{types[name]}[]) AS {name}" for name in columns)
    with connect() as connection:
        connection.execute(f"CREATE TABLE outcomes AS SELECT {fields}", list(columns.values()))
        connection.execute("COPY outcomes TO ? (FORMAT parquet, COMPRESSION zstd)", [str(path)])


if __name__ == "__main__":
    write()
