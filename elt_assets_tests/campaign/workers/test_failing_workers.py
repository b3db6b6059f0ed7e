"""A distributed installation whose parts are killed: nothing is lost, nothing happens twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.orchestration.jobs.sync_jobs import WORKER_TAG
from elt_assets_tests.testbed.distributed import Installation, installation
from elt_assets_tests.testbed.lakes import Lake
from elt_assets_tests.testbed.servers import Broker

pytestmark = pytest.mark.campaign(90)

INTEGRATIONS = 12


@pytest.fixture
def distributed(
    lake: Lake, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    """Four ranges of three integrations, each of which takes some seconds to read."""
    with installation(
        lake,
        broker,
        tmp_path,
        monkeypatch,
        integrations=INTEGRATIONS,
        users=100,
        pace=3,
        ELT_ASSETS_WORKER_QUEUE=f"queue-{tmp_path.name}",
        ELT_ASSETS_RANGE_INTEGRATIONS="3",
        ELT_ASSETS_PAGES_PER_BATCH="1",
        ELT_ASSETS_MAX_RUNS="2",
    ) as found:
        yield found


def workers_of_runs(distributed: Installation) -> set[str]:
    return {tags[WORKER_TAG].partition("@")[0] for tags in distributed.run_tags()}


def test_two_workers_with_homes_of_their_own_share_the_ranges(distributed: Installation) -> None:
    running = [distributed.worker(name, "--slots", "1") for name in ("one", "two")]
    running.append(distributed.daemon())
    distributed.until(distributed.settled, *running)
    assert distributed.wrong() == []
    assert workers_of_runs(distributed) == {"one", "two"}
    assert len(distributed.run_tags()) == 4


def test_a_worker_killed_in_the_middle_loses_nothing_and_repeats_nothing(
    distributed: Installation,
) -> None:
    distributed.worker("one", "--slots", "1")
    other = distributed.worker("two", "--slots", "1")
    server = distributed.daemon()
    distributed.until(distributed.begun, other, server)
    distributed.kill("one")
    distributed.until(distributed.settled, other, server)
    assert distributed.wrong() == []
    assert "Resuming run" in distributed.log("server")


def test_a_run_whose_process_is_killed_goes_on_in_the_same_worker(
    distributed: Installation,
) -> None:
    worker = distributed.worker("one", "--slots", "1")
    server = distributed.daemon()
    distributed.until(distributed.begun, worker, server)
    distributed.kill_run("one")
    distributed.until(distributed.settled, worker, server)
    assert distributed.wrong() == []
    assert "no longer works on it" in distributed.log("server")


def test_a_worker_that_is_stopped_hands_its_run_to_another(distributed: Installation) -> None:
    distributed.worker("one", "--slots", "2")
    server = distributed.daemon()
    distributed.until(distributed.begun, server)
    assert distributed.stop("one") == 0
    other = distributed.worker("two", "--slots", "2")
    distributed.until(distributed.settled, other, server)
    assert distributed.wrong() == []
    assert "its worker was stopped" in distributed.log("server")


def test_runs_wait_for_a_broker_that_is_away_and_survive_its_death(
    distributed: Installation, broker: Broker
) -> None:
    """Two are at the broker when it dies, with no worker to take them; two are not there yet."""
    server = distributed.daemon()
    distributed.until(
        lambda: [tags.get(WORKER_TAG) for tags in distributed.run_tags()].count("none yet") == 2,
        server,
    )
    broker.stop()
    broker.start()
    worker = distributed.worker("one", "--slots", "2")
    distributed.until(distributed.begun, worker, server)
    broker.stop()
    broker.start()
    distributed.until(distributed.settled, worker, server)
    assert distributed.wrong() == []
