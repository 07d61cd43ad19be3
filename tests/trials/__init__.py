"""Trials of the service: it is killed, cut off, damaged and starved, and what it acknowledged is counted."""

import os

# Before numpy is loaded, here and in the processes that are started from here: the matrices are small, and
# threads would only get into each other's way.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
