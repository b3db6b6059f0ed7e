"""What is under way is said now and then, and reads back."""

from __future__ import annotations

from elt_assets.orchestration.assets.progress_log import ProgressLog, as_text, from_text
from elt_assets.sync.outcome import Progress, silent

ONE = Progress("org-001:okta-main", "extract", 3, 1234)
TWO = Progress("org-002:a.b_c-d", "extract", 1000, 99)


def test_what_is_written_reads_back() -> None:
    assert from_text(as_text([ONE, TWO])) == [ONE, TWO]


def test_any_other_message_is_no_progress() -> None:
    assert from_text("") == []
    assert from_text("org-001:okta-main extract: 3 batches, 1,234 records") == []


def test_only_the_newest_of_each_is_written_and_only_once_in_a_while() -> None:
    time, written = [0.0], list[str]()
    log = ProgressLog(written.append, silent, clock=lambda: time[0])
    log.heard(Progress("org-001:okta-main", "extract", 1, 10))
    log.heard(ONE)
    log.write()
    assert written == []
    time[0] = 6.0
    log.write()
    log.write()
    time[0] = 12.0
    log.write()
    assert [from_text(text) for text in written] == [[ONE]]
