"""The progress of running work, reported every few seconds."""

from __future__ import annotations

from collections.abc import Sequence

from elt_assets.orchestration.assets.progress_log import ProgressLog
from elt_assets.sync.outcome import SyncProgress

ONE = SyncProgress("org-001:okta-main", "extract", 3, 1234)
TWO = SyncProgress("org-002:a.b_c-d", "extract", 1000, 99)


def test_only_the_newest_of_each_item_is_reported_and_only_now_and_then() -> None:
    time, reported = [0.0], list[Sequence[SyncProgress]]()
    log = ProgressLog(reported.append, lambda one: one.partition, clock=lambda: time[0])
    log.heard(SyncProgress("org-001:okta-main", "extract", 1, 10))
    log.heard(ONE)
    log.heard(TWO)
    log.write()
    assert reported == []
    time[0] = 16.0
    log.write()
    log.write()
    time[0] = 32.0
    log.write()
    assert reported == [[ONE, TWO]]
