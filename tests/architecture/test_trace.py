"""The trips through the code stay as short as they are."""

from __future__ import annotations

from tests.architecture.trace import BEFORE, NAMES, TARGETS, Limits, measured, table, trace
from tests.architecture.trips import Recorder, Trip, locate_installed, room_of

# What the code has today; it may only fall, down to the targets. Which refits a feedback leads to
# depends on the draws, so that the longest of them passes seven rooms or eight. A feedback passes the open
# decision that counts it only if that is folded already.
CEILINGS = {
    "decision": Limits(files=34, rooms=15, room_changes=60),
    "decision folded": Limits(files=18, rooms=7, room_changes=30),
    "feedback": Limits(files=17, rooms=11, room_changes=32),
    "feedback folded and fitted": Limits(files=22, rooms=8, room_changes=50),
    "replay": Limits(files=87, rooms=19, room_changes=96),
}


def test_the_trips_are_no_longer_than_they_were() -> None:
    trips = trace()
    assert trips.keys() == CEILINGS.keys() == BEFORE.keys() == TARGETS.keys() == NAMES.keys()
    print(table(trips))
    for name, limits in CEILINGS.items():
        now = measured(name, trips[name])
        for column in ("files", "rooms", "room_changes"):
            assert 0 < getattr(now, column) <= getattr(limits, column), (name, column, trips[name].visits)


def test_a_trip_is_counted_by_hand() -> None:
    line = ("api/app.py", "api/http/a.py", "api/http/b.py", "api/app.py", "api/http/a.py", "api/http/a.py")
    trip = Trip(visits=(line, ("api/store/sqlite.py", "api/app.py"))).without_store_threads()
    assert (trip.files, trip.file_changes, trip.returns) == (3, 4, 2)
    assert (trip.rooms, trip.room_changes, trip.passages) == (2, 3, 2)
    assert (Trip(visits=()).files, Trip(visits=()).returns) == (0, 0)


def test_a_room_is_a_top_level_file_or_folder_of_a_package() -> None:
    assert room_of("optimizer/router.py") == "optimizer/router"
    assert room_of("optimizer/selection/pacer.py") == "optimizer/selection"
    assert locate_installed("/x/fairlead/api/http/server.py") == "api/http/server.py"
    assert locate_installed("/x/fairlead/__init__.py") is None
    assert locate_installed("/x/starlette/routing.py") is None


def test_the_recorder_sees_calls_into_the_packages() -> None:
    from fairlead.optimizer.errors import finite

    recorder = Recorder()
    with recorder.installed():
        finite("x", 1.0, remedy="none")
        recorder.start()
        finite("x", 1.0, remedy="none")
        trip = recorder.stop()
    assert trip.visits == (("optimizer/errors.py",),)
