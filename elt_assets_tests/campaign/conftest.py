"""The order of the long suites: the longest tests first, so that none runs by itself at the end."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal `campaign(seconds)` tests to the processes, which take equal parts of the list each."""
    hands = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = sorted(filter(_seconds, items), key=_seconds, reverse=True)
    short = [item for item in items if not _seconds(item)]
    part = -(-len(short) // hands)
    items[:] = [
        item
        for hand in range(hands)
        for item in [*long[hand::hands], *short[hand * part : (hand + 1) * part]]
    ]


def _seconds(item: pytest.Item) -> int:
    """About how long the test takes, as its marker says; 0 if it says nothing."""
    marker = item.get_closest_marker("campaign")
    return int(marker.args[0]) if marker is not None and marker.args else 0
