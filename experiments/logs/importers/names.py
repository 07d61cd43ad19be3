"""Names of models: aliases, and versions by date that may be one model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from fairlead.experiments.files import sql_text
from fairlead.experiments.logs.importers import sql

_DATE: Final = re.compile(r"[-@:](20\d\d-?[01]\d-?[0-3]\d|[01]\d[0-3]\d)(?=$|[-:])|-latest$")


def aliased(name: str, aliases: Sequence[tuple[str, str]]) -> str:
    """Return SQL of a name after the aliases; the first pattern that fits counts."""
    cases = " ".join(f"WHEN {sql.glob(name, pattern)} THEN {sql_text(to)}" for pattern, to in aliases)
    return f"CASE {cases} ELSE {name} END" if cases else name


def undated(name: str) -> str:
    """Return the name of a model without its date.

    >>> undated("gpt-4o-2024-08-06"), undated("claude-sonnet-4@20250514"), undated("gpt-4-0613")
    ('gpt-4o', 'claude-sonnet-4', 'gpt-4')
    """
    return _DATE.sub("", name)


def alias_offers(names: Collection[str], expected: Collection[str] = ()) -> Iterator[str]:
    """Yield a sentence for each dated name that may be one model with another, which is never assumed."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(undated(name), []).append(name)
    for base, members in sorted(groups.items()):
        dated = sorted(name for name in members if name != base)
        if dated and (len(members) > 1 or base in expected):
            for name in dated:
                yield (
                    f"{name} may be {base} as of a date; they are counted apart. If they are one, give "
                    f"--alias '{name}={base}'."
                )
