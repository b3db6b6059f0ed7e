"""Runs inside a command: what is returned, told and left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.client.in_process_sync import run_sync
from elt_assets.client.sync_command import SyncCommand
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from elt_assets.orchestration.resources import RunListener
from elt_assets.sync.outcome import Mode, Outcome, Stage, Status, SyncProgress
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import GROUPS
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as fleet:
        yield fleet


def synced(fleet: Fleet, refs: list[IntegrationRef], sync_id: str = "now") -> list[Outcome]:
    return run_sync(refs, SyncCommand(sync_id), settings=fleet.settings, instance=fleet.instance)


def test_every_integration_is_synced_and_returned_in_the_order_asked_for(fleet: Fleet) -> None:
    keys = fleet.connect(6, partitions=False)
    outcomes = synced(fleet, fleet.refs[::-1])
    assert [outcome.partition for outcome in outcomes] == keys[::-1]
    assert {outcome.status for outcome in outcomes} == {Status.APPLIED}
    assert {outcome.counts.latest for outcome in outcomes} == {3}
    assert fleet.status(Stage.LATEST) == dict.fromkeys(keys, "MATERIALIZED")


def test_scattered_integrations_are_a_run_for_each_range(fleet: Fleet) -> None:
    keys = fleet.connect(5)
    outcomes = synced(fleet, [fleet.refs[0], fleet.refs[1], fleet.refs[4]])
    assert len(outcomes) == 3
    tags = [run.tags for run in fleet.instance.get_runs()]
    assert len(tags) == 2
    assert any((t.get(RANGE_START_TAG), t.get(RANGE_END_TAG)) == (keys[0], keys[1]) for t in tags)
    assert any(t.get(PARTITION_TAG) == keys[4] for t in tags)
    assert fleet.status(Stage.LATEST).keys() == {keys[0], keys[1], keys[4]}


def test_streams_are_synced_where_they_are_offered_and_colour_nothing_else(fleet: Fleet) -> None:
    fleet.connect(1)
    keys = fleet.connect(2, streams=("users", "groups"))
    # The plain one's users fail, and the groups of one of the others.
    fleet.directory.failures["dir-00"].extend([404])
    fleet.directory.failures["dir-02"].extend([200, 200, 404])
    outcomes = synced(fleet, fleet.refs)
    assert [(outcome.partition, outcome.stream, str(outcome.status)) for outcome in outcomes] == [
        (keys[0], "users", "failed"),
        (keys[1], "users", "applied"),
        (keys[1], "groups", "applied"),
        (keys[2], "users", "applied"),
        (keys[2], "groups", "failed"),
    ]
    assert fleet.status(Stage.LATEST) == {
        keys[0]: "FAILED",
        keys[1]: "MATERIALIZED",
        keys[2]: "MATERIALIZED",
    }
    assert fleet.status(Stage.LATEST, GROUPS) == {keys[1]: "MATERIALIZED", keys[2]: "FAILED"}


def test_failures_are_returned_not_raised(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    fleet.directory.failures["dir-00"].extend([404])
    failed, fine = synced(fleet, fleet.refs)
    assert (failed.status, fine.status) == (Status.FAILED, Status.APPLIED)
    assert (failed.error or "").startswith(keys[0])
    assert not failed.retryable


def test_a_disabled_integration_has_no_outcome(fleet: Fleet) -> None:
    keys = fleet.connect(2)
    fleet.platform.registry.set_enabled(fleet.refs[0], False)
    assert [outcome.partition for outcome in synced(fleet, fleet.refs)] == [keys[1]]


def test_repeating_a_sync_returns_its_recorded_result(fleet: Fleet) -> None:
    fleet.connect(1)
    (first,) = synced(fleet, fleet.refs)
    (second,) = synced(fleet, fleet.refs)
    assert not first.recorded
    assert second.recorded
    assert second.counts == first.counts


def test_listeners_hear_of_progress_and_once_of_each_final_outcome(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    fleet.directory.failures["dir-01"].extend([503])
    fleet.directory.failures["dir-02"].extend([404, 404])
    heard: list[SyncProgress] = []
    final: list[tuple[str, Status]] = []
    run_sync(
        fleet.refs,
        SyncCommand("now"),
        settings=fleet.settings,
        instance=fleet.instance,
        listener=RunListener(
            progress=heard.append,
            settled=lambda outcome: final.append((outcome.partition, outcome.status)),
        ),
    )
    assert {sign.partition for sign in heard} >= set(keys[:2])
    assert sorted(final) == [
        (keys[0], Status.APPLIED),
        (keys[1], Status.APPLIED),
        (keys[2], Status.FAILED),
    ]


def test_a_run_is_told_how_to_read(fleet: Fleet) -> None:
    fleet.connect(1, users=6)
    (outcome,) = run_sync(
        fleet.refs,
        SyncCommand("now", pages_per_batch=1, mode=Mode.FULL),
        settings=fleet.settings,
        instance=fleet.instance,
    )
    assert (outcome.batches, outcome.mode) == (3, Mode.FULL)
    (run,) = fleet.instance.get_runs()
    config = run.run_config["ops"]["sync_users"]["config"]
    assert (config["batch_size"], config["mode"]) == (1, "full")


def test_the_terminal_stays_the_commands_own(
    fleet: Fleet, capfd: pytest.CaptureFixture[str]
) -> None:
    # Dagster would print its events, and put a file in the place of standard error.
    fleet.connect(2)
    fleet.directory.failures["dir-00"].extend([404])
    streams = [os.fstat(stream.fileno()).st_ino for stream in (sys.stdout, sys.stderr)]
    during: list[int] = []

    def look(_: Outcome) -> None:
        during.extend(os.fstat(stream.fileno()).st_ino for stream in (sys.stdout, sys.stderr))

    run_sync(
        fleet.refs,
        SyncCommand("now"),
        settings=fleet.settings,
        instance=fleet.instance,
        listener=RunListener(settled=look),
    )
    captured = capfd.readouterr()
    assert during == 2 * streams
    assert (captured.out, captured.err) == ("", "")


def test_a_run_that_stops_unexpectedly_is_told_as_a_failure(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Iterator[Outcome]:
        raise OSError("the machine is on fire")

    keys = fleet.connect(2)
    monkeypatch.setattr(SyncService, "sync", broken)
    outcomes = synced(fleet, fleet.refs)
    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.FAILED]
    for key, outcome in zip(keys, outcomes, strict=True):
        assert (outcome.error or "").startswith(f"{key}: run ")
        assert "OSError: the machine is on fire" in (outcome.error or "")
