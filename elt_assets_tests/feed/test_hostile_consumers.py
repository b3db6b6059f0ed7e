"""Consumers that attack the server or each other: what they get, and that others are served."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import urllib3

from elt_assets.errors import InvalidInput
from elt_assets.feed import entries, feed_app, listener, places, snapshot
from elt_assets.feed.consumers import Consumers
from elt_assets.feed.numbering import number_entries
from elt_assets.feed.scope import Scope
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.state import feed_log
from elt_assets_tests.feed.serving import Answered, Asking, feed_server
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person

OTHER = IntegrationRef("globex", "main")
PATIENCE = 50
"""Seconds after which a test gives up waiting, less than the longest long poll."""


class Serving:
    """A server of two organizations, and a consumer of each."""

    def __init__(self, company: Company, url: str, http: urllib3.PoolManager) -> None:
        self.company, self.url, self.http = company, url, http
        self.registered = Consumers(company.platform.database)
        self.acme = self.consumer("of-acme", Scope(organizations=("acme",)))
        self.globex = self.consumer("of-globex", Scope(organizations=("globex",)))

    def consumer(self, name: str, scope: Scope = Scope()) -> Asking:  # noqa: B008 (immutable)
        return Asking(self.url, self.registered.add(name, scope, after="0"), self.http)

    def connection(self) -> socket.socket:
        place = urlsplit(self.url)
        return socket.create_connection((str(place.hostname), int(place.port or 0)), PATIENCE)

    def raw(self, sent: bytes) -> bytes:
        """What is answered until the connection ends."""
        with self.connection() as one:
            one.sendall(sent)
            return b"".join(iter(lambda: one.recv(65_536), b""))


def head(asking: Asking, target: str, *more: str, method: str = "GET") -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {asking.token}",
        *more,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


@pytest.fixture
def serving(company: Company) -> Iterator[Serving]:
    company.connect(world=World(people(30)))
    company.connect(OTHER, World([person(n, name=f"Globex {n}") for n in range(3)]))
    company.sync()
    company.sync(OTHER)
    with feed_server(company.platform.settings) as url, urllib3.PoolManager(maxsize=80) as http:
        yield Serving(company, url, http)


@contextmanager
def in_background(count: int, work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do the same thing so many times at once; what each returned, after the block."""
    done: list[Any] = []
    threads = [threading.Thread(target=lambda: done.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    ends = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.parametrize("end", ["rotate", "remove"])
def test_a_token_that_ends_while_it_waits_gets_nothing_more(serving: Serving, end: str) -> None:
    after = serving.acme.get("/feed").document["next"]
    answers: list[Answered] = []
    asked = threading.Event()
    looked = Consumers.of_token

    def look(self: Consumers, token: str) -> Any:
        found = looked(self, token)
        asked.set()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Consumers, "of_token", look)
        with in_background(
            1, lambda: answers.append(serving.acme.get("/feed", after=after, wait=60))
        ):
            assert asked.wait(PATIENCE)
            getattr(serving.registered, end)("of-acme")
            serving.company.worlds["acme:main"].records = people(31)
            serving.company.sync(sync_id="s2")
    (answer,) = answers
    assert answer.status == 401
    assert b"u-0030" not in answer.body


def test_requests_of_one_consumer_leave_threads_for_the_others(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read of the hostile one takes until the other has been served."""
    served = threading.Event()
    reading = feed_app.read

    def slowly(*arguments: Any) -> Any:
        if arguments[-1].organizations == ("acme",):
            served.wait(PATIENCE)
        return reading(*arguments)

    monkeypatch.setattr(feed_app, "read", slowly)
    with in_background(60, lambda: serving.acme.get("/feed").status) as statuses:
        until(lambda: statuses.count(429) == 60 - places.REQUESTS)
        answer = serving.http.request(
            "GET",
            f"{serving.url}/feed",
            headers={"Authorization": f"Bearer {serving.globex.token}"},
            timeout=PATIENCE / 2,
            retries=False,
        )
        assert answer.status == 200
        served.set()
    assert sorted(statuses) == [200] * places.REQUESTS + [429] * (60 - places.REQUESTS)


def test_long_polls_whose_client_is_gone_make_room(serving: Serving) -> None:
    after = serving.acme.get("/feed").document["next"]
    poll = head(serving.acme, f"/feed?after={after}&wait=60")
    for _ in range(2):
        with ExitStack() as stack:
            take_all_places(serving, stack, poll)
        until(lambda: serving.acme.get("/feed").status == 200)


def take_all_places(serving: Serving, stack: ExitStack, request: bytes) -> None:
    """Send the request, and read nothing, until no further one is answered."""

    def full() -> bool:
        if serving.acme.get("/feed", limit=1).status == 429:
            return True
        one = stack.enter_context(serving.connection())
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(request)
        return False

    until(full)


def publish_large(company: Company, count: int) -> None:
    """Changes of a hundred kilobytes each, more than any buffer of a connection."""
    row = {"change_type": "INSERT", "external_id": "large", "name": "L", "email": None}
    row |= {"active": True, "attributes": json.dumps({"x": "x" * 100_000}), "before": None}
    rows = pa.Table.from_pylist([row | {"id": str(n)} for n in range(count)])
    about = feed_log.Published("users", ACME, "large", 2)
    with company.platform.database.transaction() as transaction:
        feed_log.publish(transaction, about, rows.to_reader())


def test_an_answer_that_is_not_read_takes_a_place_and_ends(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_large(serving.company, 200)
    with ExitStack() as stack:
        take_all_places(serving, stack, head(serving.acme, "/feed"))
        assert serving.globex.get("/feed").status == 200
        monkeypatch.setattr(listener, "SENT_WITHIN", 0.1)
        until(lambda: serving.acme.get("/feed", limit=1).status == 200)


def test_a_connection_that_sends_no_whole_request_is_ended(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEAD_WITHIN", 0.5)
    whole = head(serving.acme, "/feed")
    unfinished = head(serving.acme, "/feed", "Content-Length: 1000000000")
    for sent, answers in (
        (b"", 0),
        (b"GET /feed HTTP/1.1\r\nX-Slow: ", 0),
        (whole + b"G", 1),
        (unfinished + b"x" * 100_000, 1),
    ):
        received = b""
        with serving.connection() as one, suppress(ConnectionResetError):
            one.sendall(sent)
            while chunk := one.recv(65_536):
                received += chunk
        assert received.count(b"HTTP/1.1 200") == answers


def test_headers_without_end_are_cut_off(serving: Serving) -> None:
    with serving.connection() as one:
        sent = 0
        with suppress(OSError):
            one.sendall(b"GET /feed HTTP/1.1\r\nHost: localhost\r\nX: ")
            while sent < 64 * 2**20:
                one.sendall(b"x" * 65_536)
                sent += 65_536
    assert sent < 64 * 2**20
    assert serving.globex.get("/feed").status == 200


METHODS = ("OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "feed")


def test_no_method_but_get_and_head_is_answered(serving: Serving) -> None:
    for method in METHODS:
        for path in ("/feed", "/snapshot"):
            answer = serving.raw(head(serving.acme, path, "Connection: close", method=method))
            assert answer.split()[1] == b"405", answer
            assert b"example.com" not in answer


def test_head_has_no_body(serving: Serving) -> None:
    answer = serving.raw(head(serving.acme, "/feed", "Connection: close", method="HEAD"))
    assert answer.split()[1] == b"200"
    assert answer.endswith(b"\r\n\r\n")


PATHS = (
    "/feed/",
    "//feed",
    "/FEED",
    "/feed/../snapshot",
    "/./feed",
    "/%2e%2e/feed",
    "/feed%00",
    "/feed;organization=globex",
    "/snapshot/globex",
    "/..%2f..%2foltp.db",
    "http://elsewhere.example/feed/",
)


def test_no_other_path_leads_to_entries(serving: Serving) -> None:
    for path in PATHS:
        answer = serving.raw(head(serving.acme, path, "Connection: close"))
        assert answer.split()[1] == b"404", answer
        assert b"ocation:" not in answer


NUMBERS = ("-1", "+5", " 5", "1e3", "0x10", "5.0", "NaN", "٣", "9" * 4_000, "", "1;2", "\x00", "%")


def test_a_number_that_is_none_is_refused(serving: Serving) -> None:
    for name in ("limit", "wait", "after"):
        for value in NUMBERS:
            answer = serving.acme.get("/feed", **{name: value})
            assert (answer.status, len(answer.body) < 300) == (400, True), answer


def test_a_position_of_elsewhere_is_refused(serving: Serving) -> None:
    state = number_entries(serving.company.platform.database)
    for position in (f"{state.feed_id}-{10**18 - 1}", "ffffffff-0", "00000000-1"):
        for path, name in (("/feed", "after"), ("/snapshot", "page")):
            value = position if name == "after" else forged(position)
            answer = serving.acme.get(path, **{name: value})
            assert (answer.status, "take a snapshot" in answer.message) == (409, True), answer


def test_an_organization_that_is_no_name_is_refused(serving: Serving) -> None:
    everything = serving.consumer("of-all")
    for organization in ("\x00", "a\x00b", "globex' OR '1'='1", "é" * 70, "a\nb"):
        for path in ("/feed", "/snapshot"):
            answer = everything.get(path, organization=organization)
            assert (answer.status, "is not a valid name" in answer.message) == (400, True)


def forged(position: str, *place: object) -> str:
    text = json.dumps([position, "users", *place], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


PLACES = (
    ("\x00",),
    ("acme", "\x00", ""),
    ("acme", "main", "\x00"),
    ("\ud800",),
    (1,),
    ([],),
)


def test_a_forged_page_is_refused(serving: Serving) -> None:
    position = serving.acme.get("/snapshot").document["position"]
    everything = serving.consumer("of-all")
    for place in PLACES:
        answer = everything.get("/snapshot", page=forged(position, *place))
        assert (answer.status, "next_page" in answer.message) == (400, True), answer


def test_a_forged_page_leads_to_no_other_tenant(serving: Serving) -> None:
    position = serving.acme.get("/snapshot").document["position"]
    for place in (("", "", ""), ("acme", "main", ""), ("globex", "main", ""), ("zzz", "", "")):
        answer = serving.globex.get("/snapshot", page=forged(position, *place))
        assert answer.status == 200
        assert b"acme" not in answer.body
    foreign = serving.globex.get("/snapshot", page=forged("ffffffff-1", "globex", "main", ""))
    assert foreign.status == 409


def test_what_is_no_token_is_not_looked_up(serving: Serving) -> None:
    for token in ("eaf_" + "é" * 43, "eaf_" + "A" * 60_000, "eaf_' OR 1=1 --"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(serving.registered, "_database", None)
            assert serving.registered.of_token(token) is None
        text = head(serving.acme, "/feed", "Connection: close").decode()
        sent = text.replace(str(serving.acme.token), token).encode("latin-1")
        assert serving.raw(sent).split()[1] in (b"401", b"400")


def test_refusals_of_tokens_are_alike(serving: Serving) -> None:
    revoked = str(serving.acme.token)
    serving.registered.remove("of-acme")
    wrong = [revoked, "eaf_" + "A" * 43, "eaf_", ""]
    answers = [Asking(serving.url, token, serving.http).get("/feed") for token in wrong]
    assert {(one.status, one.body) for one in answers} == {(401, answers[0].body)}


def test_a_consumers_name_can_forge_nothing(serving: Serving) -> None:
    for name in ("a\nb", "\x1b[2J", "a\x00", "../../x", "\u202eabc", "a" * 65, ""):
        with pytest.raises(InvalidInput, match="is not a valid name") as refused:
            serving.registered.add(name, Scope())
        with pytest.raises(InvalidInput, match="there is no consumer") as unknown:
            serving.registered.get(name)
        for error in (refused, unknown):
            assert str(error.value).isprintable()


def test_large_values_make_answers_shorter_and_nothing_is_lost(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal values pack to nothing, so what is stored says little about what it becomes."""
    monkeypatch.setattr(entries, "_UNPACKED_BYTES", 300_000)
    monkeypatch.setattr(snapshot, "_PAGE_CHARACTERS", 300_000)
    for sync in range(2, 6):
        large = [person(n, team=f"{sync}" * 100_000) for n in range(sync)]
        serving.company.worlds["globex:main"].records = large
        serving.company.sync(OTHER, sync_id=f"s{sync}")
    after, seen, answers = "0", [], 0
    while True:
        page = serving.globex.get("/feed", after=after, limit=5_000).document
        seen += page["entries"]
        answers += 1
        after = page["next"]
        if not page["more"]:
            break
    assert [entry["sequence"] for entry in seen] == list(range(1, len(seen) + 1))
    assert answers > 3
    query, rows, pages = {"limit": 5_000}, [], 0
    while True:
        answer = serving.globex.get("/snapshot", **query)
        assert len(answer.body) < 400_000
        rows += [row["key"]["external_id"] for row in answer.document["rows"]]
        pages += 1
        if answer.document["next_page"] is None:
            break
        query["page"] = answer.document["next_page"]
    assert sorted(rows) == [f"u-{n:04}" for n in range(5)]
    assert pages > 1
