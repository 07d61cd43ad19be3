import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.route_codec import from_json, to_json
from fairlead.optimizer.types import Budget


@pytest.mark.parametrize(
    ("fields", "period", "limit_usd"),
    [
        ({"usd_per_request": 0.01}, None, 0.01),
        ({"usd_per_day": 5}, "day", 5),
        ({"usd": 5.0, "window": "day", "start_hour": 23}, "day", 5.0),
        ({"usd": 5.0, "window": "week", "start_day": 7, "hard": True}, "week", 5.0),
        ({"usd": 5.0, "window": "calendar_month", "start_day": 28}, "calendar_month", 5.0),
        ({"usd_per_day": 1.0, "time_zone": "Asia/Kathmandu"}, "day", 1.0),
    ],
)
def test_each_form_has_a_limit_and_a_period(fields, period, limit_usd):
    budget = Budget(**fields)
    assert (budget.period, budget.limit_usd) == (period, limit_usd)
    assert from_json(Budget, to_json(budget)) == budget


def test_lines_of_older_logs_stay_readable():
    assert from_json(Budget, {"usd_per_day": 2.5}) == Budget(usd_per_day=2.5)
    assert from_json(Budget, {"usd_per_request": 0.1, "usd_per_day": None}) == Budget(usd_per_request=0.1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "no limit"),
        ({"usd_per_day": 1.0, "usd_per_request": 1.0}, "usd_per_request and usd_per_day"),
        ({"usd_per_day": 0}, "pause the route"),
        ({"usd_per_request": 0.0}, "max_cost_usd of 0"),
        ({"usd_per_day": -1.0}, "more than 0"),
        ({"usd_per_day": float("nan")}, "not a finite number"),
        ({"usd_per_day": 1e308}, "outside"),
        ({"usd": 1.0}, "needs one of day, week, calendar_month"),
        ({"usd_per_day": 1.0, "window": "day"}, "a window belongs to usd"),
        ({"usd": 1.0, "window": "month"}, "give one of day, week, calendar_month"),
        ({"usd": 1.0, "window": "calendar_month", "start_day": 31}, "from 1 to 28"),
        ({"usd": 1.0, "window": "week", "start_day": 8}, "from 1 to 7"),
        ({"usd_per_day": 1.0, "start_day": 2}, "from 1 to 1"),
        ({"usd_per_day": 1.0, "start_hour": 24}, "from 0 to 23"),
        ({"usd_per_day": 1.0, "start_hour": True}, "start_hour is True"),
        ({"usd_per_day": 1.0, "time_zone": "Mars/Olympus"}, "time_zone is 'Mars/Olympus'"),
        ({"usd_per_day": 1.0, "time_zone": "../../etc/passwd"}, "does not have"),
        ({"usd_per_day": 1.0, "time_zone": ""}, "does not have"),
        ({"usd_per_request": 1.0, "hard": True}, "no period at whose limit it could stop"),
    ],
)
def test_what_no_operator_can_mean_is_refused_with_a_remedy(fields, words):
    with pytest.raises(InvalidInput, match=words.replace("(", r"\(")):
        Budget(**fields)
