"""Logs of decisions: one canonical form, read from JSONL, CSV or Parquet in bounded memory.

The form is documented in docs/log-format.md.

    file ─► source (typed rows) ─► rules (refused rows) ─► log (facts, parts) ─► read ─► batch (arrays)

`write` writes such a log; `importers` and `from_events` convert other logs.
"""

from fairlead.optimizer.errors import require

require("duckdb", purpose="a log of decisions")
