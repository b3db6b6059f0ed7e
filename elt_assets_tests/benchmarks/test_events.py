"""The benchmark of event files, at a size that says nothing about speed."""

from __future__ import annotations

import pytest

from benchmarks.events.measure import Plan, measure
from benchmarks.events.report import table


@pytest.mark.campaign  # seven processes, each of which imports the platform
def test_every_contender_loads_every_event_and_the_results_say_so() -> None:
    told: list[str] = []
    document = measure(Plan(gigabytes=0.001, repeat=1, through=True), told.append)
    assert len(told) == 5
    rows = document["file"]["rows"]
    assert rows > 5_000
    for figure in document["contenders"].values():
        assert figure["peak_mib"] > 0
        assert len(figure["seconds"]["runs"]) == 1
    assert document["through"]["rows"] == rows
    assert set(document["through"]["seconds"]) == {
        "loaded",
        "normalized",
        "deduplicated",
        "summarized",
    }
    assert document["through"]["peaks"].keys() == document["through"]["seconds"].keys()
    text = table(document)
    assert "Our rate is" in text
    assert "All the way to the summary" in text
