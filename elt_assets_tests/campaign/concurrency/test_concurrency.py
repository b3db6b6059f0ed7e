"""Several processes at the same integrations: some order explains all that anybody saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from elt_assets_tests.campaign.concurrency.campaign import (
    ConcurrencyCampaign,
    concurrency_campaign,
    missing_operations,
    out_of_time,
    unexplained,
)
from elt_assets_tests.campaign.concurrency.client import Note
from elt_assets_tests.campaign.histories import history
from elt_assets_tests.campaign.state import State

BEFORE = Note("sync", "p", 1.0, 2.0, epoch="e", sync_id="a", version=1)
AFTER = Note("sync", "p", 3.0, 4.0, epoch="e", sync_id="b", version=2)


def test_processes_that_share_integrations_never_mix(tmp_path: Path) -> None:
    figures = ConcurrencyCampaign(tmp_path, seed=500).run(scenarios=1, operations=15)
    assert figures.violations == []
    assert figures.seen["operations"] > 30


@pytest.mark.campaign(120)
def test_thirty_scenarios_of_processes_that_share_integrations_never_mix(
    tmp_path: Path, printed: Callable[[str], None]
) -> None:
    figures = concurrency_campaign(tmp_path, scenarios=30)
    printed("\n".join(figures.lines()))
    assert figures.violations == []
    assert missing_operations(figures) == []


def test_the_order_oracle_catches_a_later_sync_that_came_first() -> None:
    lived = history(1)
    assert out_of_time(lived, [BEFORE, AFTER]) == []
    swapped = [BEFORE, replace_version(AFTER, 0)]
    assert len(out_of_time(lived, swapped)) == 1


def test_the_order_oracle_catches_two_syncs_that_made_the_same_version() -> None:
    assert len(out_of_time(history(1), [BEFORE, replace_version(AFTER, 1)])) == 1


def test_the_reading_oracle_catches_a_table_that_never_was() -> None:
    state = State(history(1).ref, versions=[{"version": 1}])
    state.log = [
        {"version": 1, "external_id": key, "change_type": "INSERT", "content_hash": "h"}
        for key in ("a", "b")
    ]
    whole = Note("read", "p", 0.0, versions=(0, 1), seen=[("a", "h"), ("b", "h")])
    half = Note("read", "p", 0.0, versions=(0, 1), seen=[("a", "h")])
    late = Note("read", "p", 0.0, versions=(1, 1), seen=[])
    assert unexplained(state, [whole]) == []
    assert len(unexplained(state, [half, late])) == 2


def replace_version(note: Note, version: int) -> Note:
    return Note(
        **{name: getattr(note, name) for name in note.__struct_fields__} | {"version": version}
    )
