"""What an import came to: rows read, kept and left out by reason, rewards, times and providers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_MOST_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class RewardReport:
    """How the rewards of a file met the decisions; examples are ids, up to three."""

    read: int = 0
    matched: int = 0
    of_left_out: int = 0
    unmatched: int = 0
    unmatched_examples: tuple[str, ...] = ()
    repeated: int = 0
    repeated_examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """The counts of one import; every row that was read is either kept or in ``left_out``.

    ``left_out`` counts the rows without a decision by reason; ``refused`` is how many of them break a rule,
    which only happens with ``skip_bad``. ``providers`` counts the kept rows by provider. ``first`` and
    ``last`` are times in UTC, empty if nothing was kept.
    """

    path: Path
    source: str
    read: int
    kept: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0
    first: str = ""
    last: str = ""
    providers: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    judged: int = 0
    unpriced: int = 0
    with_propensities: bool = False
    rewards: RewardReport | None = None
    notes: Sequence[str] = ()

    def sentences(self) -> Iterator[str]:
        """Yield what was read, kept and left out, in lines that can be read aloud."""
        yield f"Read {count_of(self.read, 'row')}, kept {self.kept:,}, left out {self.read - self.kept:,}."
        for reason, count in _listed(self.left_out):
            yield f"  left out {count:,}: {reason}"
        if self.kept:
            yield f"Time: {self.first} to {self.last}."
            yield f"Providers: {len(self.providers):,}."
            for name, count in _listed(self.providers):
                yield f"  {name}: {count:,}"
            yield (
                f"Failed: {self.failed:,}. Without reward: {self.kept - self.judged:,}. "
                f"Of unknown cost: {self.unpriced:,}."
            )
            if not self.with_propensities:
                yield "There are no propensities: the log supports `fairlead replay --descriptive` only."
        if self.rewards is not None:
            yield from _reward_sentences(self.rewards)
        yield from self.notes


def count_of(count: int, noun: str) -> str:
    """Write a number with its noun in the right number.

    >>> count_of(1, "row"), count_of(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """Return text from a file with its control characters and marks of direction written as codes.

    >>> printable("a" + chr(27) + "[1m")
    'a\\\\x1b[1m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _listed(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    yield from ((printable(name), count) for name, count in ordered[:_MOST_LISTED])
    if len(ordered) > _MOST_LISTED:
        rest = ordered[_MOST_LISTED:]
        yield f"{len(rest):,} more", sum(count for _, count in rest)


def _reward_sentences(rewards: RewardReport) -> Iterator[str]:
    yield f"Rewards: {rewards.read:,} read, {count_of(rewards.matched, 'decision')} judged."
    if rewards.of_left_out:
        yield f"  {rewards.of_left_out:,} belong to rows that were left out"
    if rewards.unmatched:
        yield f"  {rewards.unmatched:,} match nothing{_examples(rewards.unmatched_examples)}"
    if rewards.repeated:
        yield (
            f"  {count_of(rewards.repeated, 'id')} came twice or more{_examples(rewards.repeated_examples)}; "
            "the last counts"
        )


def _examples(names: Sequence[str]) -> str:
    return f", such as {', '.join(map(printable, names))}" if names else ""
