"""The Open Bandit Dataset: what was shown at a position, with the propensity of that item alone."""

from __future__ import annotations

from typing import Final

from fairlead.experiments.logs.importers import sql
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table
from fairlead.experiments.logs.importers.source import COMMON, Selection, Source

_REMEDY: Final = "give timestamp, item_id, click and propensity_score"


def _select(table: Table, options: ImportOptions) -> Selection:
    text = table.text
    table.require("timestamp", "item_id", "click", "propensity_score", remedy=_REMEDY)
    time, item, propensity = text("timestamp"), text("item_id"), text("propensity_score")
    names = ["position", *(f"user_feature_{i}" for i in range(4)), *options.attributes]
    attributes = {name: text(name) for name in names}
    chance = sql.number(propensity)
    outside = f"coalesce(left({propensity}, 40), 'empty') || ', not above 0 and at most 1: correct it'"
    return Selection(
        columns={
            "decision_id": "'row-' || row",
            "at_us": sql.time_us(time),
            "attributes": sql.object_of(attributes),
            "provider": f"'item-' || {item}",
            "propensity": chance,
            "reward": sql.number(text("click", "reward")),
        },
        refused=(
            (f"{sql.time_us(time)} IS NULL", sql.no_time("timestamp", f"coalesce({time}, 'empty')")),
            (f"{item} IS NULL", f"'item_id is missing: {_REMEDY}'"),
            (f"NOT coalesce({chance} > 0 AND {chance} <= 1, false)", f"'propensity_score is ' || {outside}"),
        ),
    )


OPEN_BANDIT: Final = Source(
    select=_select, applicable=COMMON | {"reward_range", "attributes"}, judges=True, remedy=_REMEDY
)
