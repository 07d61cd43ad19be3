"""docs/estimators.md: its program runs, and it names every estimator and every limit as the code has them."""

from __future__ import annotations

import re
import subprocess
import sys

from fairlead.experiments.ope import diagnostics
from fairlead.experiments.ope.estimators import DEFAULT_LAMBDA, DEFAULT_SUB_GAUSSIAN_LAMBDA, ESTIMATORS
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")


def test_the_program_runs_and_reaches_a_verdict() -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Promote second: against today's mix it earns +0.0")


def test_every_estimator_has_its_row() -> None:
    table = PAGE.split("## Estimators")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE) == list(ESTIMATORS)


def test_the_limits_are_those_of_the_code() -> None:
    checks = PAGE.split("## Checks before a verdict")[1].split("\n## ")[0]
    assert f"≥ {diagnostics.LEAST_EFFECTIVE_SIZE:.0f} |" in checks
    for share in (
        diagnostics.LARGEST_WEIGHT_SHARE,
        diagnostics.LARGEST_WITHOUT_SUPPORT,
        diagnostics.LARGEST_SHARE_ELSEWHERE,
    ):
        assert f"| ≤ {100 * share:.0f} % |" in checks
    assert f"gap ≤ {100 * diagnostics.LARGEST_RESPONSE_GAP:.0f} points" in checks
    assert f"p ≥ {diagnostics.FALSE_ALARM:.3f}".replace("0.", ".") in checks
    assert f"λ is {DEFAULT_LAMBDA:.0f} ({DEFAULT_SUB_GAUSSIAN_LAMBDA}" in PAGE
