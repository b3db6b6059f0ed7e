"""Signs of life: not too many, with what is left."""

from __future__ import annotations

from elt_assets.signin_events.progress_meter import ProgressMeter
from elt_assets.signin_events.results import EventProgress


def test_a_step_tells_at_intervals_how_far_it_is_and_what_is_left() -> None:
    now, told = 100.0, list[EventProgress]()
    meter = ProgressMeter("csv_events", "a.csv", told.append, clock=lambda: now)
    meter.at(1, 0.01)
    assert told == []
    now += 10
    meter.at(500, 0.25)
    meter.at(501, 0.25)
    now += 10
    meter.at(800)
    meter.at(1000, 1.0, last=True)
    assert [(one.rows, one.rate, one.share, one.seconds_left) for one in told] == [
        (500, 50.0, 0.25, 30.0),
        (800, 40.0, None, None),
        (1000, 50.0, 1.0, 0.0),
    ]
