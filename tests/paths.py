"""Where the tests find the repository and, where it is present, the shared data."""

import os
from pathlib import Path

HANGS_S = 600.0
"""Seconds after which a test gives up on what hangs: many times what it takes on a busy machine."""

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("FAIRLEAD_DATA", ROOT.parent / "shared" / "data"))
