"""Extraction of a day from a provider: resumed, replaced, judged, stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from elt_assets.errors import InvalidInput, NotFound, Stopped
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.results import EventProgress, EventSource, ExtractionStatus
from elt_assets.signin_events.step_run import StepRun
from elt_assets_tests.connectors.serving import Asked, Reply
from elt_assets_tests.signin_events.days import ACME, DAY, EVE, Tenant, event

OTHER = IntegrationRef("other", "main")


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    with Tenant(tmp_path) as tenant:
        yield tenant


def cursors(tenant: Tenant, since: int = 0) -> list[str | None]:
    """The cursors of all pages that were asked for after the first `since` requests."""
    return [asked.query.get("cursor") for asked in tenant.provider.asked[since:]]


def test_a_day_is_asked_for_from_midnight_to_midnight(tenant: Tenant) -> None:
    tenant.events.extract_api(DAY)
    assert tenant.provider.asked[0].query == {
        "from": "2026-01-05T00:00:00Z",
        "to": "2026-01-06T00:00:00Z",
    }


def test_a_reading_that_failed_goes_on_after_its_last_committed_page(tenant: Tenant) -> None:
    tenant.listed = [event(number) for number in range(6)]
    tenant.failing = {3: 503}
    (failed,) = tenant.events.extract_api(DAY)
    assert (failed.status, failed.retryable, failed.fetched) == (ExtractionStatus.FAILED, True, 4)
    assert failed.error is not None
    assert failed.error.startswith("acme:main: ")
    assert "answered 503" in failed.error
    (complete,) = tenant.events.extract_api(DAY)
    assert (complete.status, complete.resumed_pages, complete.attempt) == ("complete", 2, 2)
    assert (complete.fetched, complete.staged, complete.generation) == (6, 6, 1)
    assert cursors(tenant, since=3) == ["4"]
    tenant.events.normalize(EventSource.API, DAY)
    assert tenant.events.load(DAY).rows == 6


def test_a_failed_reading_leaves_the_earlier_one_in_its_place(tenant: Tenant) -> None:
    tenant.listed = [event(1), event(2), event(3)]
    tenant.run()
    tenant.listed = [event(7), event(8), event(9)]
    tenant.failing = {4: 403}
    (failed,) = tenant.events.extract_api(DAY)
    assert (failed.status, failed.retryable, failed.generation) == ("failed", False, 2)
    tenant.events.normalize(EventSource.API, DAY)
    tenant.events.load(DAY)
    assert set(tenant.table()) == {"e-1", "e-2", "e-3"}
    tenant.run()
    assert set(tenant.table()) == {"e-7", "e-8", "e-9"}


def test_a_changed_configuration_does_not_go_on_with_pages_of_another(tenant: Tenant) -> None:
    tenant.listed = [event(number) for number in range(4)]
    tenant.failing = {2: 503}
    tenant.events.extract_api(DAY)
    tenant.platform.registry.update(ACME, tenant.provider_data(ip="address"))
    (complete,) = tenant.events.extract_api(DAY)
    assert (complete.resumed_pages, complete.fetched) == (0, 4)


def test_a_listing_that_is_shorter_than_it_says_is_not_complete(tenant: Tenant) -> None:
    tenant.listed = [event(number) for number in range(3)]
    tenant.total = 7
    (failed,) = tenant.events.extract_api(DAY)
    assert failed.retryable
    assert failed.error == ("acme:main: the provider counts 7 events of the period and listed 3")
    assert tenant.events.normalize(EventSource.API, DAY).read == 0


def test_one_integrations_failure_costs_the_others_nothing(tenant: Tenant) -> None:
    tenant.connect(OTHER)
    tenant.listed = [event(1)]
    tenant.platform.registry.update(
        OTHER, tenant.provider_data() | {"api_endpoint": "http://127.0.0.1:9"}
    )
    complete, failed = tenant.events.extract_api(DAY)
    assert (complete.partition, complete.status) == ("acme:main", "complete")
    assert (failed.partition, failed.status, failed.retryable) == ("other:main", "failed", True)


def test_only_integrations_that_offer_events_are_asked(tenant: Tenant) -> None:
    assert tenant.events.integrations() == [ACME]
    with pytest.raises(NotFound):
        tenant.events.extract_api(DAY, [OTHER])
    tenant.platform.registry.set_enabled(ACME, False)
    assert tenant.events.extract_api(DAY) == []
    with pytest.raises(InvalidInput, match="offers no sign-in events, or is disabled"):
        tenant.events.extract_api(DAY, [ACME])


def test_new_events_are_asked_for_from_the_newest_known_one_less_the_overlap(
    tenant: Tenant,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    newest = now - timedelta(hours=30)
    today = now.date()
    tenant.listed = [event(1, at=newest.isoformat())]
    tenant.run(newest.date())
    tenant.listed.append(event(2, at=(now - timedelta(minutes=1)).isoformat()))
    (extraction,) = tenant.events.extract_new()
    begin = datetime.fromisoformat(tenant.provider.asked[-1].query["from"])
    assert begin == newest - timedelta(minutes=15)
    assert (extraction.day, extraction.fetched) == (today, 2)
    tenant.events.normalize(EventSource.API, today)
    tenant.events.load(today)
    assert set(tenant.table()) == {"e-1", "e-2"}
    tenant.events.extract_new()
    later = datetime.fromisoformat(tenant.provider.asked[-1].query["from"])
    assert later == now - timedelta(minutes=16)


def test_an_event_from_the_future_does_not_hide_what_happens_until_then(tenant: Tenant) -> None:
    ahead = datetime.now(UTC) + timedelta(days=3)
    tenant.listed = [event(1, at=ahead.isoformat(), recorded=f"{DAY}T10:00:00Z")]
    tenant.run()
    tenant.events.extract_new()
    assert tenant.provider.asked[-1].query["from"] == "2026-01-05T23:45:00Z"


def test_a_stop_ends_a_request_that_waits_and_keeps_what_is_committed(tenant: Tenant) -> None:
    tenant.listed = [event(number) for number in range(4)]
    held, release = threading.Event(), threading.Event()
    answer = tenant.provider.answer

    def slowly(asked: Asked) -> Reply:
        if asked.number == 2:
            held.set()
            release.wait(30)
            return Reply(status=503, headers={"Retry-After": "50"})
        return answer(asked)

    tenant.provider.answer = slowly
    stop = Interruption()

    def interrupt() -> None:
        held.wait(30)
        stop.request("api_events took longer than 120 s")
        release.set()

    timer = threading.Thread(target=interrupt)
    timer.start()
    with pytest.raises(Stopped, match="took longer than 120 s"):
        tenant.events.extract_api(DAY, step=StepRun(stop=stop))
    timer.join()
    tenant.provider.answer = answer
    (complete,) = tenant.events.extract_api(DAY)
    assert (complete.status, complete.resumed_pages, complete.fetched) == ("complete", 1, 4)


def test_the_end_of_a_step_is_told(tenant: Tenant) -> None:
    tenant.listed = [event(1), event(2), event(3)]
    told: list[EventProgress] = []
    tenant.events.extract_api(DAY, step=StepRun(progress=told.append))
    assert (told[-1].step, told[-1].what, told[-1].rows) == ("api_events", "acme:main", 3)
    assert (told[-1].share, told[-1].seconds_left) == (1.0, 0.0)


def test_days_do_not_touch_each_other(tenant: Tenant) -> None:
    tenant.listed = [event(1), event(2, at=f"{EVE}T10:00:00Z")]
    for day in (DAY, EVE, DAY):
        tenant.run(day)
    assert set(tenant.table(DAY)) == {"e-1"}
    assert set(tenant.table(EVE)) == {"e-2"}


def test_a_stop_ends_a_request_that_is_not_answered(tmp_path: Path) -> None:
    over, answered = threading.Event(), threading.Event()
    stop = Interruption()
    with Tenant(tmp_path, request_timeout=600) as tenant:

        def late(_: Asked) -> Reply:
            stop.request("api_events was interrupted")
            if not over.wait(20):
                answered.set()
            return Reply(status=500)

        tenant.provider.answer = late
        try:
            with pytest.raises(Stopped, match="was interrupted"):
                tenant.events.extract_api(DAY, step=StepRun(stop=stop))
            assert not answered.is_set()
        finally:
            over.set()
