import pytest

from fairlead.optimizer.types import Feedback, Outcome
from fairlead.optimizer.types.events import copy_with


@pytest.mark.parametrize(
    "event",
    [Outcome(decision_id="d1", served_provider="small", cost_usd=0.5), Feedback(decision_id="d1", value=0.5)],
)
def test_a_copy_differs_in_the_fields_given_alone(event: Outcome | Feedback) -> None:
    copy = copy_with(event, revision=7)
    assert type(copy) is type(event)
    assert (copy.revision, event.revision) == (7, 0)
    assert copy_with(copy, revision=0) == event
