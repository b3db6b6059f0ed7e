from __future__ import annotations

from elt_assets.demo.request_log import RequestLog


def add(log: RequestLog, organization: str, integration: str) -> None:
    log.add(
        method="GET",
        path="/",
        organization=organization,
        integration=integration,
        cursor=None,
        limit=None,
        status=200,
    )


def test_requests_are_numbered_in_order_and_found_by_organization_and_integration() -> None:
    log = RequestLog()
    for who in [("a", "bc"), ("ab", "c"), ("a", "c")]:
        add(log, *who)
    assert [entry.sequence for entry in log.read()] == [1, 2, 3]
    assert [entry.sequence for entry in log.read("a")] == [1, 3]
    assert [entry.sequence for entry in log.read("a", "c")] == [3]
    assert [entry.sequence for entry in log.read(integration="c")] == [2, 3]


def test_a_full_log_forgets_the_oldest_and_says_how_many() -> None:
    log = RequestLog(kept=2)
    for _ in range(5):
        add(log, "a", "b")
    assert [entry.sequence for entry in log.read()] == [4, 5]
    assert log.dropped == 3
    log.clear()
    assert (log.read(), log.dropped) == ([], 0)
    add(log, "a", "b")
    assert [entry.sequence for entry in log.read()] == [6]
