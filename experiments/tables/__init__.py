"""Outcome tables: every prompt with the outcome of every provider."""

from fairlead.optimizer.errors import require

require("duckdb", purpose="an outcome table")
