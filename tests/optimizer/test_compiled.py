import subprocess
import sys

PROGRAM = """
import sys
if {plain}:
    sys.modules["numba"] = None
import numpy as np
from fairlead.optimizer.models.kernels import condition
from fairlead.optimizer.models.linear import predict
from fairlead.optimizer.policies.thompson import Thompson, _each_row

assert hasattr(_each_row, "py_func") != {plain}
rng = np.random.default_rng(3)
results = []
for k in (1, 2, 3, 7):
    utility, spread = rng.normal(size=(4, k)) / 10, rng.uniform(0.002, 0.1, size=(4, k))
    utility[0, k // 2 + 1 :] = -np.inf
    results.append(Thompson().probabilities(utility, spread))
root = rng.normal(size=(2, 5, 5))
cov, mean = root @ root.transpose(0, 2, 1), rng.normal(size=(2, 5))
rows, level = rng.normal(size=(3, 5)), np.ones(2)
condition((mean, cov, rows[1], level), 1, rows[0], 0.7, 0.3)
expected = np.empty((2, 3, 2))
predict(rows, mean, cov, expected)
results += [mean, cov, level, expected]
print(b"".join(array.tobytes() for array in results).hex())
"""


def bits(*, plain: bool) -> str:
    """All results of the compiled loops, run by a fresh interpreter with or without numba."""
    command = [sys.executable, "-c", PROGRAM.format(plain=plain)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_compiled_and_plain_python_give_the_same_bits():
    compiled = bits(plain=False)
    assert len(compiled) > 1000
    assert compiled == bits(plain=True)
