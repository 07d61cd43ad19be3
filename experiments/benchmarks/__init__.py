"""The numbers that Fairlead is measured by; docs/benchmarks.md explains them.

Run them with `python -m fairlead.experiments.benchmarks`.
"""

import os

# Before numpy is loaded: the matrices are small, and threads would only get into each other's way.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
