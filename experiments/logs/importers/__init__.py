"""Logs of other systems, written as logs of decisions.

    file ─► reading (rows of text) ─► a source (what each column means) ─► conversion (left out, repeats,
    rewards, order) ─► log and report

A source is a module with a `Source`: SQL of each column of a decision, the rows that it leaves out by rule,
and the rows that it refuses. What it cannot know, `ImportOptions` say.
"""

from fairlead.experiments.logs.importers.conversion import import_log
from fairlead.experiments.logs.importers.options import Filter, ImportOptions
from fairlead.experiments.logs.importers.report import ImportReport
from fairlead.experiments.logs.importers.sources import SOURCES

__all__ = ["SOURCES", "Filter", "ImportOptions", "ImportReport", "import_log"]
