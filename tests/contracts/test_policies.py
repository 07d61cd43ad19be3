"""Every policy passes every check of `check_policy`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.policies.fixed import Fixed
from fairlead.optimizer.policies.presets import policy_from_name
from tests.contracts.check_policy import CHECKS

POLICIES: Final[tuple[Policy, ...]] = (
    policy_from_name("thompson"),
    policy_from_name("squarecb"),
    policy_from_name("squarecb:0"),
    policy_from_name("epsilon-greedy:0.05"),
    policy_from_name("uniform"),
    policy_from_name("greedy"),
    policy_from_name("linucb:2"),
    Fixed(index=1, provider="b"),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_policies(policy: Policy, check: Callable[[Policy], None]) -> None:
    check(policy)
