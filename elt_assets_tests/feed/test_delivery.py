"""Push: signed messages, in order, at least once, to receivers that fail in every way."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from elt_assets.config.secret_refs import SecretRef
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.feed import delivery
from elt_assets.feed.consumers import Consumer, ConsumerEndpoint, Consumers
from elt_assets.feed.delivery import Deliverer, keep_delivering, signers
from elt_assets.feed.numbering import number_entries
from elt_assets.feed.retry_schedule import WAITS, DeliveryResult, verdict, wait_after
from elt_assets.feed.scope import Scope
from elt_assets.feed.status import feed_status
from elt_assets.feed.turns import turn
from elt_assets_tests.connectors.serving import Asked, Provider, Reply
from elt_assets_tests.feed.listening import applied, heard, numbers
from elt_assets_tests.sync.worlds import Company, World, people, person

KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
SECRET = SecretRef(env="FEED_KEY")
TAKEN = Reply(status=204)


class Receiver(Provider):
    """Verifies every message; answers what `reply` says."""

    def __init__(self) -> None:
        super().__init__(self._received)
        self.reply: Callable[[list[Any]], Reply] = lambda _: TAKEN
        self.messages: list[list[Any]] = []
        self.ids: list[str] = []

    def _received(self, asked: Asked) -> Reply:
        message = Verifier(KEY).verify(asked.body, asked.headers)
        self.messages.append(message["data"]["entries"])
        self.ids.append(asked.headers["webhook-id"])
        return self.reply(message["data"]["entries"])

    @property
    def entries(self) -> list[Any]:
        return [entry for message in self.messages for entry in message]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening  # type: ignore[misc]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_KEY", KEY)


def subscribe(company: Company, receiver: Receiver, name: str = "app", **scope: Any) -> None:
    Consumers(company.platform.database).add(
        name, Scope(**scope), ConsumerEndpoint(f"{receiver.url}/hook", SECRET), after="0"
    )


def deliver(company: Company) -> int:
    platform = company.platform
    return Deliverer(platform.database, platform.settings).deliver(seconds=60)


def due_now(company: Company) -> None:
    """The wait after a failure is over."""
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE feed_consumers SET retry_at = NULL")


def consumer(company: Company, name: str = "app") -> Consumer:
    return Consumers(company.platform.database).get(name)


def test_everything_arrives_signed_and_in_order(company: Company, receiver: Receiver) -> None:
    world = company.connect(world=World(people(250)))
    company.sync()
    subscribe(company, receiver)
    assert deliver(company) == 250
    world.records = [person(0, name="Renamed"), *people(251)[1:]]
    company.sync(sync_id="s2")
    assert deliver(company) == 2
    assert numbers(receiver.entries) == list(range(1, 253))
    assert [len(message) for message in receiver.messages] == [100, 100, 50, 2]
    assert len(set(receiver.ids)) == 4
    assert applied(receiver.entries) == applied(heard(company))
    assert deliver(company) == 0


def test_what_was_not_taken_is_sent_again_under_the_same_id(
    company: Company, receiver: Receiver
) -> None:
    world = company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver)
    receiver.reply = lambda _: Reply(status=500)
    assert deliver(company) == 0
    failed = consumer(company)
    assert (failed.failures, failed.error) == (1, "the endpoint answered 500")
    assert deliver(company) == 0, "it waits before it tries again"
    world.records = people(5)
    company.sync(sync_id="s2")
    due_now(company)
    receiver.reply = lambda _: TAKEN
    assert deliver(company) == 5
    assert [len(message) for message in receiver.messages] == [3, 3, 2]
    assert receiver.ids[0] == receiver.ids[1] != receiver.ids[2]
    assert (consumer(company).failures, consumer(company).error) == (0, None)


def test_a_receiver_that_never_takes_it_is_given_up_and_can_be_retried_or_skipped(
    company: Company, receiver: Receiver
) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver)
    receiver.reply = lambda _: Reply(status=500)
    for _ in range(len(WAITS) + 1):
        deliver(company)
        due_now(company)
    assert consumer(company).stopped
    assert len(receiver.messages) == 10
    assert feed_status(company.platform.database, 10**9).consumers[0].state == "stopped"
    deliver(company)
    assert len(receiver.messages) == 10
    registered = Consumers(company.platform.database)
    registered.retry("app")
    deliver(company)
    assert len(receiver.messages) == 11
    assert registered.skip("app") == 3
    receiver.reply = lambda _: TAKEN
    assert deliver(company) == 0
    assert consumer(company).position == 3
    with pytest.raises(InvalidInput, match="no message to app has failed"):
        registered.skip("app")


def test_an_endpoint_that_is_gone_stops_at_once(company: Company, receiver: Receiver) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver)
    receiver.reply = lambda _: Reply(status=410)
    deliver(company)
    assert consumer(company).stopped
    assert "410" in str(consumer(company).error)
    assert len(receiver.messages) == 1


def test_a_message_that_is_too_large_is_sent_in_parts(company: Company, receiver: Receiver) -> None:
    company.connect(world=World(people(40)))
    company.sync()
    subscribe(company, receiver)
    receiver.reply = lambda entries: Reply(status=413) if len(entries) > 7 else TAKEN
    assert deliver(company) == 40
    taken = [message for message in receiver.messages if len(message) <= 7]
    assert numbers([entry for message in taken for entry in message]) == list(range(1, 41))


def test_a_slow_and_a_failing_consumer_delay_no_other(company: Company, receiver: Receiver) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    go_on = threading.Event()
    with Receiver() as slow, Receiver() as failing:
        slow.reply = lambda _: (go_on.wait(60), TAKEN)[1]
        failing.reply = lambda _: Reply(status=503)
        for name, one in (("a-slow", slow), ("b-failing", failing), ("c-good", receiver)):
            subscribe(company, one, name)
        receiver.reply = lambda _: (go_on.set(), TAKEN)[1]
        assert deliver(company) == 6
    assert consumer(company, "b-failing").failures == 1


def test_only_what_is_in_the_scope_is_sent(company: Company, receiver: Receiver) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver, organizations=("globex",))
    assert deliver(company) == 0
    assert receiver.messages == []
    assert consumer(company).position == number_entries(company.platform.database).head


def test_only_one_process_delivers_to_a_consumer_at_a_time(
    company: Company, receiver: Receiver
) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver)
    platform = company.platform
    with turn(platform.database, platform.settings.home, "app") as mine:
        assert mine
        assert deliver(company) == 0
    assert deliver(company) == 3


def test_the_egress_policy_holds_for_webhooks(company: Company, receiver: Receiver) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver)
    settings = load_settings(home=company.platform.settings.home, egress="public")
    assert Deliverer(company.platform.database, settings).deliver(seconds=60) == 0
    assert receiver.messages == []
    assert "ELT_ASSETS_EGRESS does not open" in str(consumer(company).error)


def test_an_endpoint_gets_no_data_at_an_address_that_is_closed_to_its_organization(
    company: Company, receiver: Receiver
) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver, organizations=("acme",))
    platform = company.platform
    for egress, taken in (("globex=127.0.0.0/8", 0), ("acme=127.0.0.0/8", 3)):
        settings = load_settings(home=platform.settings.home, egress=egress)
        assert Deliverer(platform.database, settings).deliver(seconds=60) == taken
        assert len(receiver.entries) == taken
        due_now(company)


def test_a_redirect_is_not_followed(company: Company, receiver: Receiver) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver)
    with Receiver() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            place = {"Location": f"{elsewhere.url}/hook"}
            receiver.reply = lambda _, status=status, place=place: Reply(b"", status, place)
            assert deliver(company) == 0
            assert consumer(company).error == f"the endpoint answered {status}"
            due_now(company)
        assert elsewhere.asked == []


def drip(go_on: threading.Event, head: bytes) -> Iterator[bytes]:
    yield head
    while not go_on.wait(0.05):
        yield b"x"


def flood() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n"
    while True:
        yield b"x" * 65_536


def test_endpoints_that_answer_without_end_or_not_at_all_end_at_a_deadline(
    company: Company, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_TIMEOUT", 1.0)
    company.connect(world=World(people(3)))
    company.sync()
    subscribe(company, receiver)
    go_on = threading.Event()
    silent = drip(go_on, b"")
    for answer in (silent, drip(go_on, b"HTTP/1.1 500 Slow\r\nX: "), endless_heads()):
        receiver.reply = lambda _, answer=answer: Reply(raw=answer)
        assert deliver(company) == 0
        assert consumer(company).failures > 0
        assert "/hook" not in str(consumer(company).error)
        due_now(company)
    go_on.set()
    # The status says that it was taken; of a body no more than an error's is read.
    receiver.reply = lambda _: Reply(raw=flood())
    assert deliver(company) == 3


def endless_heads() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n"


def test_no_endpoint_delays_entries_that_are_published_while_it_is_slow(
    company: Company, receiver: Receiver
) -> None:
    world = company.connect(world=World(people(3)))
    company.sync()
    stop, reached, go_on = threading.Event(), threading.Event(), threading.Event()
    platform = company.platform
    with Receiver() as slow:
        slow.reply = lambda _: (reached.set(), go_on.wait(60), TAKEN)[2]
        subscribe(company, slow, "a-slow")
        subscribe(company, receiver, "b-quick")
        delivering = threading.Thread(
            target=keep_delivering, args=(platform.database, platform.settings, stop)
        )
        delivering.start()
        try:
            assert reached.wait(60)
            world.records = people(4)
            company.sync(sync_id="s2")
            ends = time.monotonic() + 30
            while len(receiver.entries) < 4 and time.monotonic() < ends:
                time.sleep(0.05)
            assert len(receiver.entries) == 4
            assert len(slow.messages) == 1
        finally:
            go_on.set()
            stop.set()
            delivering.join()


def test_a_receiver_that_hangs_up_is_tried_again(company: Company) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    receiver = Receiver()
    with receiver:
        subscribe(company, receiver)
    assert deliver(company) == 0
    assert "cannot reach http://127.0.0.1" in str(consumer(company).error)
    assert "/hook" not in str(consumer(company).error)


def test_two_keys_sign_while_they_are_exchanged(
    company: Company, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    monkeypatch.setenv("FEED_KEY", f"{other} {KEY}")
    company.connect(world=World(people(1)))
    company.sync()
    subscribe(company, receiver)
    assert deliver(company) == 1
    (asked,) = receiver.asked
    Verifier(other).verify(asked.body, asked.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(other).verify(asked.body + b" ", asked.headers)
    assert json.loads(asked.body)["type"] == "feed.entries"


@pytest.mark.parametrize("key", ["", " ", "whsec_", "short", "whsec_" + "A" * 8])
def test_a_key_that_signs_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("FEED_KEY", key or " ")
    with pytest.raises(InvalidInput, match="elt-assets feed secret"):
        signers(SECRET)


@pytest.mark.parametrize(
    "endpoint", ["http://example.com/hook", "ftp://example.com", "https://a:b@example.com", "x"]
)
def test_an_endpoint_that_would_leak_is_refused(company: Company, endpoint: str) -> None:
    with pytest.raises(InvalidInput, match=r"^the endpoint "):
        Consumers(company.platform.database).add("app", Scope(), ConsumerEndpoint(endpoint, SECRET))


def test_waits_grow_and_end() -> None:
    waits = [wait_after(failures) for failures in range(1, 11)]
    assert waits == [*WAITS, None]
    assert sum(WAITS, timedelta()) > timedelta(days=3)
    assert wait_after(1, "120") == timedelta(seconds=120)
    assert wait_after(1, "1") == timedelta(seconds=5)
    assert wait_after(1, "999999999") == timedelta(days=1)
    assert wait_after(1, "Wed, 21 Oct") == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("status", "entries", "expected"),
    [
        (200, 1, DeliveryResult.TAKEN),
        (299, 1, DeliveryResult.TAKEN),
        (301, 1, DeliveryResult.FAILED),
        (410, 1, DeliveryResult.REFUSED_FOR_GOOD),
        (413, 2, DeliveryResult.TOO_LARGE),
        (413, 1, DeliveryResult.FAILED),
        (500, 9, DeliveryResult.FAILED),
    ],
)
def test_an_answer_is_judged_by_its_status(
    status: int, entries: int, expected: DeliveryResult
) -> None:
    assert verdict(status, entries) is expected
