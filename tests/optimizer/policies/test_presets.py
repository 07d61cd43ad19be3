"""Policies by name: settings are parsed, and a wrong name is answered with those that exist."""

import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.policies.presets import policy_from_name


def test_the_default_and_a_fixed_provider_have_names() -> None:
    assert policy_from_name("default").name == "thompson"
    assert policy_from_name("fixed:b", providers=["a", "b"]).name == "fixed:b"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("best", "squarecb"), ("fixed:c", "'a'"), ("linucb:x", "number"), ("uniform:1", "greedy")],
)
def test_a_wrong_name_is_answered_with_what_exists(name: str, remedy: str) -> None:
    with pytest.raises(InvalidInput, match=remedy):
        policy_from_name(name, providers=["a", "b"])
