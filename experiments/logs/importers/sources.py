"""The sources by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fairlead.experiments.logs.importers.dsjson import DSJSON
from fairlead.experiments.logs.importers.helicone import HELICONE
from fairlead.experiments.logs.importers.langfuse import LANGFUSE
from fairlead.experiments.logs.importers.litellm import LITELLM
from fairlead.experiments.logs.importers.open_bandit import OPEN_BANDIT
from fairlead.experiments.logs.importers.openrouter import OPENROUTER
from fairlead.experiments.logs.importers.opentelemetry import OPENTELEMETRY
from fairlead.experiments.logs.importers.portkey import PORTKEY
from fairlead.experiments.logs.importers.source import Source

TABLES: Final[Mapping[str, Source]] = {
    "dsjson": DSJSON,
    "helicone": HELICONE,
    "langfuse": LANGFUSE,
    "litellm": LITELLM,
    "open-bandit": OPEN_BANDIT,
    "openrouter": OPENROUTER,
    "opentelemetry": OPENTELEMETRY,
    "portkey": PORTKEY,
}
SOURCES: Final = ("events", *TABLES)
"""Every kind of log that can be imported."""
