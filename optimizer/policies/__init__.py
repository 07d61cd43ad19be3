"""Policies: from predictions of utility to a probability per provider, one file each.

To add one, write its file, name it in `presets`, and list it in `tests/contracts/check_policy.py`.
"""

from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.policies.epsilon_greedy import EpsilonGreedy
from fairlead.optimizer.policies.fixed import Fixed
from fairlead.optimizer.policies.greedy import Greedy
from fairlead.optimizer.policies.linucb import LinUCB
from fairlead.optimizer.policies.presets import policy_from_name
from fairlead.optimizer.policies.squarecb import SquareCB
from fairlead.optimizer.policies.thompson import Thompson
from fairlead.optimizer.policies.uniform import Uniform

__all__ = [
    "EpsilonGreedy",
    "Fixed",
    "Greedy",
    "LinUCB",
    "Policy",
    "SquareCB",
    "Thompson",
    "Uniform",
    "policy_from_name",
]
