"""What the service withstands: `python -m tests.load`; see docs/reliability.md."""

import os

# Before numpy is loaded: the matrices are small, and threads would only get into each other's way.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
