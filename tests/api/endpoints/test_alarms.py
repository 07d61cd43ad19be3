"""Drift alarms keep their field names over HTTP."""

from fairlead.api.endpoints.health import _alarm
from fairlead.api.schemas.configuration import AlarmOut
from fairlead.optimizer.types import DriftAlarm


def test_an_alarm_is_answered_with_the_documented_fields() -> None:
    alarm = DriftAlarm(provider="a", quantity="quality", since_seq=3, at_seq=9, before=0.9, after=0.4)
    assert _alarm(alarm).keys() == AlarmOut.model_fields.keys()
    assert (_alarm(alarm)["since_order"], _alarm(alarm)["at_order"]) == (3, 9)
