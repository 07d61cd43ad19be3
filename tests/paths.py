"""Where the tests find the repository and, where it is present, the shared data."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("FAIRLEAD_DATA", ROOT.parent / "shared" / "data"))
