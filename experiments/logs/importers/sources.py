"""The sources by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fairlead.experiments.logs.importers.dsjson import DSJSON
from fairlead.experiments.logs.importers.litellm import LITELLM
from fairlead.experiments.logs.importers.source import Source

TABLES: Final[Mapping[str, Source]] = {"dsjson": DSJSON, "litellm": LITELLM}
SOURCES: Final = ("events", *TABLES)
"""Every kind of log that can be imported."""
