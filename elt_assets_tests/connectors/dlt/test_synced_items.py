"""A dlt resource through the whole engine: landed once, whatever interrupts it."""

from __future__ import annotations

import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import SyncProgress
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.dlt.conftest import dlt_data

pytestmark = pytest.mark.slow

pytest.importorskip("dlt", reason="dlt is not installed")

REF = IntegrationRef("acme", "dlt")


@pytest.fixture(autouse=True)
def code_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any platform is opened."""
    monkeypatch.setenv("ELT_ASSETS_ALLOW_CODE", "true")


class _Stop:
    """Ends the process's work, as a signal would, after so many batches."""

    def __init__(self, after: int) -> None:
        self._left = after

    def progress(self, progress: SyncProgress) -> None:
        self._left -= progress.stage == "extract"
        if not self._left:
            raise KeyboardInterrupt


def test_an_interrupted_extraction_begins_again_and_stages_nobody_twice(
    platform: SyncService,
) -> None:
    platform.registry.add(REF, "dlt", dlt_data("users", page_size=4))
    with pytest.raises(KeyboardInterrupt):
        list(
            platform.sync(
                USERS, [REF], sync_id="one", pages_per_batch=1, progress=_Stop(after=2).progress
            )
        )
    (outcome,) = platform.sync(USERS, [REF], sync_id="one", pages_per_batch=1)
    assert (outcome.status, outcome.sync_id) == ("applied", "one")
    assert (outcome.counts.staged, outcome.counts.duplicates, outcome.counts.inserts) == (20, 0, 20)
    assert (outcome.resumed_batches, outcome.batches) == (0, 5)
    assert outcome.certificate.complete
    assert outcome.certificate.extraction_runs == 1, "all records are of the second attempt"
    assert not outcome.certificate.resumable
    assert {record["email"] for record in platform.records(USERS, REF)} == {
        f"p{number}@x.example" for number in range(20)
    }


def test_somebody_missing_is_deleted_after_a_second_listing(
    platform: SyncService, everybody: set[int]
) -> None:
    platform.registry.add(REF, "dlt", dlt_data("users"))
    list(platform.sync(USERS, [REF], sync_id="one"))
    everybody.add(7)
    (second,) = platform.sync(USERS, [REF], sync_id="two")
    assert (second.counts.deletes, second.counts.pending_deletes) == (0, 1)
    (third,) = platform.sync(USERS, [REF], sync_id="three")
    assert (third.counts.deletes, third.counts.latest) == (1, 19)


def test_a_resource_that_leaves_records_out_deletes_nobody(
    platform: SyncService, everybody: set[int]
) -> None:
    platform.registry.add(REF, "dlt", dlt_data("changed_since"))
    list(platform.sync(USERS, [REF], sync_id="one"))
    everybody.add(7)
    (second,) = platform.sync(USERS, [REF], sync_id="two")
    assert (second.status, second.counts.deletes) == ("quarantined", 0)
    assert "(dlt.sources.incremental)" in second.certificate.reasons[0]
