"""Drift alarms keep their field names over HTTP."""

from fairlead.api.schemas.state import AlarmOut
from fairlead.api.service.route_state import alarm_answer
from fairlead.optimizer.types import DriftAlarm


def test_an_alarm_is_answered_with_the_documented_fields() -> None:
    alarm = DriftAlarm(provider="a", quantity="quality", since_seq=3, at_seq=9, before=0.9, after=0.4)
    answer = alarm_answer(alarm)
    assert answer.model_dump().keys() == AlarmOut.model_fields.keys()
    assert (answer.since_order, answer.at_order) == (3, 9)
