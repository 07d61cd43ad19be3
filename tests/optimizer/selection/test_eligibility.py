"""Each rule rules out whom it should, and says why."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.selection.eligibility import ConstraintChecker, check_contradictions
from fairlead.optimizer.types import Constraints, Provider

A = Provider(name="openai/a", capabilities=frozenset({"tools"}), context_window_tokens=1000)
B = Provider(name="other/b")
SICK = Provider(name="other/sick", healthy=False)


def check(
    *rules: Constraints, candidates: tuple[str, ...] | None = None, tokens: float = 10
) -> dict[str, str]:
    checker = ConstraintChecker((A, B), *rules)
    ineligible = checker.check(candidates=candidates, input_tokens=tokens)
    values = (np.array([0.2, np.nan]), np.array([2.0, np.nan]), np.array([9.0, np.nan]))
    excess = checker.excess(values)
    assert checker.has_limits or (excess == 0.0).all()
    for row, i in np.argwhere(~(excess <= 1.0)).tolist():
        ineligible.setdefault((A.name, B.name)[i], checker.limit_reason(row, values[row][i]))
    return ineligible


@pytest.mark.parametrize(
    ("limit", "values", "expected"),
    [
        (2.0, [1.0, 2.0, 3.0, np.nan], [0.5, 1.0, 1.5, np.nan]),
        (0.0, [0.0, 1e-12, 5.0, np.nan], [0.0, 1.0 + 1e-12, 5e12, np.nan]),
        (1e6, [1e6, 0.0, 1.0, 2e6], [1.0, 0.0, 1e-6, 2.0]),
    ],
)
def test_values_are_multiples_of_their_limits(limit, values, expected) -> None:
    providers = [Provider(name=name) for name in "abcd"]
    column = np.array(values)
    excess = ConstraintChecker(providers, Constraints(max_latency_s=limit)).excess((column, column, column))
    np.testing.assert_allclose(excess, [[0.0] * 4, expected, [0.0] * 4])


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Constraints(), {}),
        (Constraints(allow=("openai/*",)), {B.name: "not allowed by 'openai/"}),
        (Constraints(deny=("openai/*",)), {A.name: "denied by"}),
        (Constraints(capabilities=frozenset({"tools"})), {B.name: "lacks the required capability 'tools'"}),
        (Constraints(max_cost_usd=0.1), {A.name: "expected to cost $0.2", B.name: "no known price"}),
        (Constraints(max_cost_usd=0.2), {B.name: "no known price"}),
        (Constraints(max_latency_s=1), {A.name: "take 2 s", B.name: "has no latency history"}),
        (
            Constraints(max_tail_latency_s=5),
            {A.name: "tail latency of 9 s", B.name: "has no latency history"},
        ),
    ],
)
def test_rules(rules: Constraints, expected: dict[str, str]) -> None:
    ineligible = check(rules)
    assert ineligible.keys() == expected.keys()
    assert all(expected[name] in reason for name, reason in ineligible.items())


def test_candidates_window_and_health() -> None:
    assert check(Constraints(), candidates=(A.name,)) == {
        B.name: "is not among the candidates of the request"
    }
    with pytest.raises(InvalidInput, match="'c' is not a provider"):
        check(Constraints(), candidates=("c",))
    assert check(Constraints(), tokens=1000) == {}
    assert "takes 1000 tokens" in check(Constraints(), tokens=1001)[A.name]
    ineligible = ConstraintChecker((SICK,), Constraints()).check(input_tokens=1)
    assert ineligible == {SICK.name: "is marked unhealthy"}


def test_route_and_request_count_together_and_the_tighter_limit() -> None:
    route = Constraints(allow=("openai/*",), max_cost_usd=1, max_latency_s=3)
    assert check(route, Constraints()) == check(route)
    ineligible = check(route, Constraints(allow=("*/b",)))
    assert ineligible == {A.name: "is not allowed by '*/b'", B.name: "is not allowed by 'openai/*'"}
    assert check(route, Constraints(deny=("openai/a",)))[A.name] == "is denied by 'openai/a'"
    tools, vision = (Constraints(capabilities=frozenset({name})) for name in ("tools", "vision"))
    assert "'tools', 'vision'" in check(tools, vision)[B.name]
    for other in (1.0, 2.5):
        limits = Constraints(max_latency_s=other), Constraints(max_latency_s=1.5)
        lower = min(other, 1.5)
        assert f"above the latency limit of {lower:g} s" in check(*limits)[A.name]
        assert check(*limits) == check(*limits[::-1])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (Constraints(allow=()), "allow is empty"),
        (Constraints(allow=("opnai/*",)), "'opnai/\\*', which matches no provider"),
        (Constraints(deny=("*",)), "leave no provider .*denied by"),
        (Constraints(capabilities=frozenset({"vision"})), "'vision' is required, but no provider has it"),
        (Constraints(deny=("openai/*",), capabilities=frozenset({"tools"})), "leave no provider"),
    ],
)
def test_contradictions(rules: Constraints, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_contradictions(rules, (A, B))
    check_contradictions(Constraints(), (A, SICK))
