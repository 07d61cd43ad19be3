"""Logs of decisions: one canonical form, read from JSONL, CSV or Parquet in bounded memory.

The form is documented in docs/log-format.md.

    file ─► lines (typed rows) ─► rules (what is wrong with a row) ─► log (facts, parts) ─► columns (numpy)
"""

from fairlead.optimizer.errors import require

require("duckdb", purpose="a log of decisions")
