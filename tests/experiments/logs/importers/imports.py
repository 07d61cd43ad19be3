"""Importing a few rows, and reading back what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairlead.experiments.logs.importers import ImportOptions, ImportReport, import_log
from tests.paths import SHARED_DATA

CASES = SHARED_DATA.parent / "cases"


def imported(
    path: Path, source: str, *, folder: Path | None = None, **options: Any
) -> tuple[list[dict[str, Any]], ImportReport]:
    """Import a file, and return its lines without the columns that are empty, and the report."""
    out = (folder or path.parent) / "imported.jsonl"
    report = import_log(path, source=source, out=out, options=ImportOptions(**options))
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    return [{name: v for name, v in row.items() if v is not None} for row in rows], report


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
