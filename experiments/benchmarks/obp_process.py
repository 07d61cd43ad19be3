"""Running obp's estimators with an interpreter that has obp.

`python obp_process.py estimates|bootstrap ARRAYS.npz ANSWER.json`; it needs numpy and obp alone.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np


def load_ope() -> Any:
    """`obp.ope` as it is shipped, without the rest of obp.

    The package's own start imports policies that are neural networks, and with them torch, of which the
    pinned release has no build for this Python. Off-policy evaluation names torch's tensor type and no more.
    """
    spec = importlib.machinery.PathFinder.find_spec("obp")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("obp is not installed: run `make peers-ope`")
    package = types.ModuleType("obp")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["obp"] = package
    torch = types.ModuleType("torch")
    torch.Tensor = torch.tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
    sys.modules["torch"] = torch
    return importlib.import_module("obp.ope")


def estimators(ope: Any, arrays: Any) -> dict[str, Any]:
    """Every estimator that both have, by our name for it."""
    lam, mild = float(arrays["lam"]), float(arrays["sub_gaussian_lam"])
    return {
        "ips": ope.InverseProbabilityWeighting(),
        "clipped-ips": ope.InverseProbabilityWeighting(lambda_=lam),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
        "sub-gaussian-ips": ope.SubGaussianInverseProbabilityWeighting(lambda_=mild),
        "replay": ope.ReplayMethod(),
        "dm": ope.DirectMethod(),
        "dr": ope.DoublyRobust(),
        "clipped-dr": ope.DoublyRobust(lambda_=lam),
        "sndr": ope.SelfNormalizedDoublyRobust(),
        "switch-dr": ope.SwitchDoublyRobust(lambda_=lam),
        "shrunk-dr": ope.DoublyRobustWithShrinkage(lambda_=lam),
        "sub-gaussian-dr": ope.SubGaussianDoublyRobust(lambda_=mild),
    }


def columns(arrays: Any, name: str) -> dict[str, Any]:
    """Make the arguments of every estimator; replay takes a policy that always makes its likeliest choice."""
    target = arrays["target"]
    if name == "replay":
        target = np.eye(target.shape[1])[target.argmax(axis=1)]
    return {
        "reward": arrays["reward"],
        "action": arrays["action"],
        "pscore": arrays["propensity"],
        "action_dist": target[:, :, None],
        "estimated_rewards_by_reg_model": arrays["q_hat"][:, :, None],
    }


def main(mode: str, arrays_path: str, answer_path: str) -> None:
    """Per estimator: its value or bootstrap interval, and the seconds of processor time it took."""
    with np.load(arrays_path) as content:
        arrays = {name: content[name] for name in content.files}
    ope = load_ope()
    answer = {}
    for name, estimator in estimators(ope, arrays).items():
        arguments = columns(arrays, name)
        started = time.process_time()
        if mode == "estimates":
            values = [float(estimator.estimate_policy_value(**arguments))]
        else:
            interval = estimator.estimate_interval(
                **arguments, n_bootstrap_samples=int(arrays["resamples"]), random_state=0
            )
            values = [float(value) for value in interval.values()]
        answer[name] = {"found": values, "seconds": time.process_time() - started}
    Path(answer_path).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
