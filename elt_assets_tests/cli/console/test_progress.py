"""Progress: bounded on a terminal, plain lines elsewhere, right under many threads."""

from __future__ import annotations

import io
import threading

import msgspec
import pytest
from rich.console import Console

from elt_assets.cli.console.progress import LiveDisplay, PlainDisplay, one_line
from elt_assets.sync.outcome import Certificate, Counts, Mode, Outcome, Status, SyncProgress


def progress(partition: str, batches: int = 1, records: int = 100) -> SyncProgress:
    return SyncProgress(partition=partition, stage="extract", batches=batches, records=records)


def outcome(partition: str, status: Status = Status.APPLIED, error: str | None = None) -> Outcome:
    return Outcome(
        partition=partition,
        stream="users",
        sync_id="s",
        status=status,
        counts=Counts(fetched=1000, staged=1000, inserts=7, latest=1000),
        certificate=Certificate(complete=True),
        error=error,
    )


def drawn(display: LiveDisplay, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=100, height=height, force_terminal=True)
    with console.capture() as captured:
        console.print(display.picture())
    return captured.get().splitlines()


def live(integrations: int, height: int = 24) -> LiveDisplay:
    console = Console(file=io.StringIO(), width=100, height=height, force_terminal=True)
    return LiveDisplay(integrations, console, clock=lambda: 0.0)


def test_more_running_integrations_than_lines_do_not_overflow_the_terminal() -> None:
    display = live(500, height=12)
    for number in range(300):
        display.progress(progress(f"org:{number}"))
    lines = drawn(display)
    assert len(lines) <= 12
    assert "292 more running" in lines[-2]


def test_a_settled_integration_leaves_the_list_and_enters_the_totals() -> None:
    display = live(2)
    display.progress(progress("org:a"))
    display.progress(progress("org:b"))
    display.settled(outcome("org:a"))
    lines = drawn(display)
    assert not any("org:a" in line for line in lines)
    assert "1 of 2 syncs done (1 applied), 1,100 records" in lines[-1]


def test_no_report_is_lost_when_many_threads_report_at_once() -> None:
    display = live(800)

    def work(worker: int) -> None:
        for number in range(100):
            display.progress(progress(f"org:{worker}-{number}"))
            display.settled(outcome(f"org:{worker}-{number}"))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "800 of 800 syncs done (800 applied), 800,000 records" in drawn(display)[-1]


def test_without_a_terminal_a_short_sync_writes_one_line() -> None:
    lines: list[str] = []
    plain = PlainDisplay(lines.append, clock=lambda: 0.0)
    for batch in range(50):
        plain.progress(progress("org:a", batch))
    plain.settled(outcome("org:a"))
    assert lines == [
        "org:a applied: 1,000 staged, 7 inserted, 0 updated, 0 deleted, 1,000 in latest"
    ]


@pytest.mark.parametrize("status", [Status.APPLIED, Status.UNCHANGED, Status.QUARANTINED])
def test_the_line_of_an_incomplete_listing_has_its_reasons(status: Status) -> None:
    certificate = Certificate(reasons=("page 2 is empty and not the last one", "another"))
    incomplete = msgspec.structs.replace(outcome("org:a", status), certificate=certificate)
    assert one_line(incomplete).endswith(
        "; the listing is not complete: page 2 is empty and not the last one; another"
    )
    compensating = msgspec.structs.replace(incomplete, mode=Mode.COMPENSATING)
    assert "not complete" not in one_line(compensating)


def test_without_a_terminal_a_long_sync_prints_progress_now_and_then() -> None:
    lines: list[str] = []
    now = iter(range(100))
    plain = PlainDisplay(lines.append, clock=lambda: float(next(now)))
    for batch in range(25):
        plain.progress(progress("org:a", batch, batch * 100))
    assert lines == [
        "org:a extract: 10 batches, 1,000 records",
        "org:a extract: 20 batches, 2,000 records",
    ]


def test_a_failure_is_one_line_with_its_cause() -> None:
    lines: list[str] = []
    PlainDisplay(lines.append).settled(outcome("org:a", Status.FAILED, error="401 from the API"))
    assert lines == ["org:a failed: 401 from the API"]
