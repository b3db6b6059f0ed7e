"""A REST source against real servers that do what providers do."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import socket
import threading
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.http import http_client as http_module
from elt_assets.connectors.source import Page, Source
from elt_assets.errors import (
    EltAssetsError,
    PageUnreadable,
    PermanentError,
    ProviderRefused,
    ProviderUnavailable,
    SecretMissing,
)
from elt_assets_tests.connectors.conftest import TOKEN, OpenSource
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json, listing

Data = dict[str, Any]

PAGES: list[list[object]] = [[{"id": 1}, {"id": 2}], [{"id": 3}], [{"id": 4}]]


def ids(pages: list[Page], source: Source) -> list[object]:
    found: list[object] = []
    for page in pages:
        inner = json.loads(page.body)
        for key in source.records:
            inner = inner[key]
        assert len(inner) == page.count
        found += [record["id"] for record in inner]
    return found


def everything(source: Source) -> list[Page]:
    return list(source.pages(None))


def stream(data: Data) -> Data:
    users: Data = data["streams"]["users"]
    return users


# Reading on


def test_pages_come_in_order_and_the_last_one_says_so(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = listing(PAGES)
    source = users()
    pages = everything(source)
    assert ids(pages, source) == [1, 2, 3, 4]
    assert [page.next is None for page in pages] == [False, False, True]
    assert [page.cut_short for page in pages] == [None] * 3


def test_any_cursor_resumes_after_its_page_and_fetches_nothing_twice(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = listing(PAGES)
    cursor = json.loads(json.dumps(next(users().pages(None)).next))
    source = users()
    assert ids(list(source.pages(cursor)), source) == [3, 4]
    assert [asked.query.get("cursor") for asked in provider.asked] == [None, "p2", "p3"]


def test_nothing_is_asked_before_the_first_page_is_wanted(
    provider: Provider, users: OpenSource
) -> None:
    users().pages(None)
    assert provider.asked == []


def test_params_and_headers_go_with_every_request(
    provider: Provider, data: Data, users: OpenSource
) -> None:
    provider.answer = listing(PAGES)
    stream(data)["params"] = {"status": "a&b", "deep": True, "limit": 5}
    data["headers"] = {"X-Version": "7"}
    everything(users())
    for asked in provider.asked:
        assert asked.query | {"cursor": ""} == {
            "status": "a&b",
            "deep": "true",
            "limit": "5",
            "cursor": "",
        }
        assert asked.headers["x-version"] == "7"
        assert asked.headers["accept"] == "application/json"
    assert {asked.path for asked in provider.asked} == {"/v1/users"}


def test_a_declared_total_comes_with_every_page(
    provider: Provider, data: Data, users: OpenSource
) -> None:
    stream(data)["total"] = "total"
    provider.answer = listing(PAGES, total=4)
    assert [page.total for page in everything(users())] == [4, 4, 4]


def test_an_empty_page_that_carries_a_cursor_is_followed(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = listing([[{"id": 1}], [], [{"id": 2}]])
    source = users()
    assert ids(everything(source), source) == [1, 2]


def test_a_link_header_is_followed(provider: Provider, data: Data, users: OpenSource) -> None:
    def answer(asked: Asked) -> Reply:
        page = int(asked.query.get("page", "1"))
        if page == 3:
            return as_json([{"id": page}])
        link = f'<{provider.url}/v1/users?page={page + 1}>; rel="next"'
        return as_json([{"id": page}], link=link)

    provider.answer = answer
    stream(data).update(records="", pagination={"type": "link_header"})
    source = users()
    pages = everything(source)
    assert ids(pages, source) == [1, 2, 3]
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in provider.asked)
    assert pages[0].next["at"] == f"{provider.url}/v1/users?page=2"


def test_a_single_page_is_all_there_is(provider: Provider, data: Data, users: OpenSource) -> None:
    provider.answer = lambda _: as_json([{"id": 1}])
    stream(data).update(records="", pagination={"type": "none"})
    (page,) = everything(users())
    assert page.next is None


def test_a_gzipped_page_is_read(provider: Provider, users: OpenSource) -> None:
    body = gzip.compress(b'{"data": {"items": [{"id": 1}]') + gzip.compress(b', "next": null}}')
    provider.answer = lambda _: Reply(body, headers={"Content-Encoding": "gzip"})
    source = users()
    assert ids(everything(source), source) == [1]


def test_one_connection_serves_all_pages(provider: Provider, users: OpenSource) -> None:
    provider.answer = listing([[{"id": number}] for number in range(20)])
    accepted: list[object] = []
    server = provider._server
    original = server.get_request

    def counting() -> tuple[socket.socket, Any]:
        accepted.append(None)
        return original()

    server.get_request = counting  # type: ignore[method-assign]
    everything(users())
    assert len(accepted) == 1


# Credentials


def test_the_bearer_token_of_now_is_sent(
    provider: Provider, data: Data, users: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.answer = listing(PAGES)
    pages = users().pages(None)
    next(pages)
    monkeypatch.setenv("TEST_TOKEN", "rotated")
    next(pages)
    assert [asked.headers["authorization"] for asked in provider.asked] == [
        f"Bearer {TOKEN}",
        "Bearer rotated",
    ]


def test_basic_auth_takes_both_halves_by_reference(
    provider: Provider, data: Data, users: OpenSource, secrets: Secrets, tmp_path: Path
) -> None:
    provider.answer = listing(PAGES)
    (tmp_path / "password").write_text("pässword\n")
    data["auth"] = {
        "type": "basic",
        "username": {"env": "TEST_TOKEN"},
        "password": {"file": str(tmp_path / "password")},
    }
    everything(users())
    encoded = base64.b64encode(f"{TOKEN}:pässword".encode()).decode()
    assert provider.asked[0].headers["authorization"] == f"Basic {encoded}"
    assert secrets.redact(f"sent {encoded}") == "sent [secret]"


def test_an_api_key_travels_in_a_header(provider: Provider, data: Data, users: OpenSource) -> None:
    provider.answer = listing(PAGES)
    data["auth"] = {
        "type": "api_key",
        "key": {"env": "TEST_TOKEN"},
        "header": "Authorization",
        "prefix": "SSWS ",
    }
    everything(users())
    assert provider.asked[0].headers["authorization"] == f"SSWS {TOKEN}"


def test_an_api_key_that_a_provider_echoes_in_its_links_is_not_kept_in_cursors(
    provider: Provider, data: Data, users: OpenSource
) -> None:
    def answer(asked: Asked) -> Reply:
        assert asked.query["key"] == TOKEN
        page = int(asked.query.get("page", "1"))
        link = f"{provider.url}/v1/users?%6bey={asked.query['key']}&a=b%20c&page={page + 1}#top"
        return as_json({"items": [{"id": page}], "next": link if page < 3 else None})

    provider.answer = answer
    data["auth"] = {"type": "api_key", "key": {"env": "TEST_TOKEN"}, "param": "key"}
    stream(data).update(records="items", pagination={"type": "next_url", "url": "next"})
    source = users()
    pages = everything(source)
    assert ids(pages, source) == [1, 2, 3]
    assert pages[0].next["at"] == f"{provider.url}/v1/users?a=b%20c&page=2"


def test_a_missing_secret_names_the_reference_and_sends_nothing(
    provider: Provider, users: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_TOKEN")
    with pytest.raises(SecretMissing, match="environment variable TEST_TOKEN is not set"):
        everything(users())
    assert provider.asked == []


def test_a_secret_that_cannot_be_a_header_is_refused_without_showing_it(
    provider: Provider, users: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TOKEN", "hush-hush\r\nX-Injected: 1")
    with pytest.raises(SecretMissing, match="characters that cannot be sent") as caught:
        everything(users())
    assert "hush" not in str(caught.value)
    assert provider.asked == []


def test_an_error_that_names_an_address_with_a_secret_in_its_path_hides_it(
    provider: Provider, data: Data, users: OpenSource
) -> None:
    stream(data)["path"] = f"/{TOKEN}/users"
    for status in (503, 404):
        provider.answer = lambda _, status=status: as_json({}, status)  # type: ignore[misc]
        with pytest.raises(EltAssetsError, match=r"/v1/\[secret\]/users answered"):
            everything(users())


def test_a_key_in_the_query_reaches_no_log_however_much_is_logged(
    provider: Provider, data: Data, users: OpenSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    provider.answer = listing(PAGES)
    data["auth"] = {"type": "api_key", "key": {"env": "TEST_TOKEN"}, "param": "key"}
    everything(users())
    assert provider.asked[0].query["key"] == TOKEN
    assert TOKEN not in caplog.text


def test_no_error_carries_the_token_even_when_the_provider_echoes_it(
    provider: Provider, users: OpenSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    echoes: list[Reply] = [
        as_json({f"bad token {TOKEN}": 1}, status=401),
        as_json({f"Bearer {TOKEN}": 1}),
        as_json({"data": {"items": [], TOKEN: 1}}, status=503, retry_after="0"),
        Reply(status=302, headers={"Location": f"https://{TOKEN}.example/"}),
        as_json({"data": {"items": [], "next": {TOKEN: 1}}}),
    ]
    for echo in echoes:
        provider.answer = lambda _, echo=echo: echo  # type: ignore[misc]
        with pytest.raises(EltAssetsError) as caught:
            everything(users())
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert TOKEN not in caplog.text


# Trying again


def test_a_500_is_tried_again_and_then_fine(provider: Provider, users: OpenSource) -> None:
    good = listing(PAGES)
    provider.answer = lambda asked: as_json({}, 500) if asked.number == 2 else good(asked)
    source = users()
    assert ids(everything(source), source) == [1, 2, 3, 4]
    assert len(provider.asked) == 4


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_a_lasting_outage_ends_after_the_attempts(
    provider: Provider, users: OpenSource, status: int
) -> None:
    provider.answer = lambda _: as_json({"error": "x"}, status)
    with pytest.raises(ProviderUnavailable) as caught:
        everything(users(attempts=3))
    assert str(caught.value).startswith(f"page 1: {provider.url}/v1/users answered {status}")
    assert str(caught.value).endswith("(tried 3 times)")
    assert caught.value.retryable
    assert len(provider.asked) == 3


def test_one_attempt_means_one_request(provider: Provider, users: OpenSource) -> None:
    provider.answer = lambda _: as_json({}, 503)
    with pytest.raises(ProviderUnavailable, match=r"503 Service Unavailable$"):
        everything(users(attempts=1))
    assert len(provider.asked) == 1


def test_retry_after_is_waited_for(provider: Provider, users: OpenSource) -> None:
    good = listing(PAGES)
    at: list[float] = []

    def answer(asked: Asked) -> Reply:
        at.append(time.monotonic())
        return as_json({}, 429, retry_after="1") if asked.number == 1 else good(asked)

    provider.answer = answer
    next(users().pages(None))
    assert at[1] - at[0] >= 1


def test_a_wait_longer_than_the_longest_is_left_to_the_next_sync(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = lambda _: as_json({}, 429, retry_after="3600")
    with pytest.raises(ProviderUnavailable, match="asks to wait 3600 s"):
        everything(users())
    assert len(provider.asked) == 1


@pytest.mark.parametrize("value", ["soon", "-1", "9" * 400, ""])
def test_a_retry_after_that_makes_no_sense_is_ignored_or_left_alone(
    provider: Provider, users: OpenSource, value: str
) -> None:
    provider.answer = lambda _: as_json({}, 503, retry_after=value)
    with pytest.raises(ProviderUnavailable):
        everything(users())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = b'{"data": {"items": [{"id": 1}], "next": null}}'

CUT = {
    "before the declared length": [HEAD, b"Content-Length: 9999\r\n\r\n", BODY],
    "in a chunk": [HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"ffff\r\n", BODY],
    "before the last chunk": [
        HEAD,
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"%x\r\n%b\r\n" % (len(BODY), BODY),
    ],
    "without a length": [HEAD, b"Connection: close\r\n\r\n", BODY[:-3]],
    "in its gzip": [HEAD, b"Content-Encoding: gzip\r\n\r\n", gzip.compress(BODY)[:-9]],
    "in the headers": [HEAD[:-5]],
    "before a word": [b""],
}


@pytest.mark.parametrize("where", CUT)
def test_a_body_cut_short_is_tried_again(provider: Provider, users: OpenSource, where: str) -> None:
    good = listing(PAGES)
    provider.answer = lambda asked: Reply(raw=CUT[where]) if asked.number == 1 else good(asked)
    source = users()
    assert ids(everything(source), source) == [1, 2, 3, 4]


@pytest.mark.parametrize("where", CUT)
def test_a_body_always_cut_short_is_never_a_listing(
    provider: Provider, users: OpenSource, where: str
) -> None:
    provider.answer = lambda _: Reply(raw=CUT[where])
    with pytest.raises(ProviderUnavailable, match=r"^page 1.*\(tried 3 times\)$"):
        everything(users())


def test_a_gzip_body_that_is_damaged_is_tried_again(provider: Provider, users: OpenSource) -> None:
    damaged = gzip.compress(b"[]")[:10] + b"\x07"
    provider.answer = lambda _: Reply(damaged, headers={"Content-Encoding": "gzip"})
    with pytest.raises(ProviderUnavailable, match="damaged compressed body"):
        everything(users())


def test_an_endpoint_that_is_not_there_is_named(data: Data, users: OpenSource) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        data["api_endpoint"] = f"http://127.0.0.1:{port}/v1"
        with pytest.raises(ProviderUnavailable) as caught:
            everything(users())
    assert str(caught.value) == (
        f"page 1: cannot reach http://127.0.0.1:{port}: connection refused (tried 3 times)"
    )


def test_a_host_without_an_address_is_named(data: Data, users: OpenSource) -> None:
    data["api_endpoint"] = "https://no-such-host.invalid"
    with pytest.raises(ProviderUnavailable, match=r"https://no-such-host\.invalid: its name"):
        everything(users(attempts=1))


def test_a_label_too_long_for_a_host_is_a_permanent_mistake(data: Data, users: OpenSource) -> None:
    data["api_endpoint"] = f"https://{'a' * 70}.example"
    with pytest.raises(ProviderRefused, match="is not the name of a host"):
        everything(users())


def test_a_server_that_stays_silent_is_given_up_on(data: Data, users: OpenSource) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        data["api_endpoint"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ProviderUnavailable, match=r"silence for 0\.2 s"):
            everything(users(attempts=1, timeout=0.2))


def test_a_body_that_trickles_is_given_up_on(provider: Provider, users: OpenSource) -> None:
    def trickle() -> Iterator[bytes]:
        yield HEAD + b"Content-Length: 100000\r\n\r\n"
        while True:
            yield b" "
            time.sleep(0.02)

    provider.answer = lambda _: Reply(raw=trickle())
    with pytest.raises(ProviderUnavailable, match=r"still arriving after 0\.3 s"):
        everything(users(attempts=1, timeout=0.3))


def test_a_server_that_does_not_speak_http_is_unavailable(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = lambda _: Reply(raw=[b"SSH-2.0-OpenSSH_9.2\r\n"])
    with pytest.raises(ProviderUnavailable, match="cut short"):
        everything(users())


def test_plain_http_behind_an_https_address_is_said(
    provider: Provider, data: Data, users: OpenSource
) -> None:
    data["api_endpoint"] = provider.url.replace("http:", "https:")
    with pytest.raises(ProviderUnavailable, match="page 1: "):
        everything(users(attempts=1))


def test_closing_ends_a_wait_between_attempts(
    provider: Provider, users: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = users(first_wait=3600.0, page_timeout=1e6)
    rest = http_module._rest

    def closed_meanwhile(stop: threading.Event, seconds: float) -> None:
        if seconds > 60:
            source.close()
        rest(stop, seconds)

    monkeypatch.setattr(http_module, "_rest", closed_meanwhile)
    provider.answer = lambda _: as_json({}, 503)
    with pytest.raises(ProviderUnavailable, match="the source is closed"):
        everything(source)
    assert len(provider.asked) == 1


# Being refused


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "answered 400 Bad Request (an object with keys code, message)"),
        (401, "check the token in environment variable TEST_TOKEN"),
        (403, "the credentials may not read this"),
        (404, "check api_endpoint and path"),
        (410, "check api_endpoint and path"),
        (499, "answered 499 (an object"),
    ],
)
def test_a_refusal_is_permanent_and_says_what_to_check(
    provider: Provider, users: OpenSource, status: int, words: str
) -> None:
    provider.answer = lambda _: as_json({"code": 1, "message": "private detail"}, status)
    with pytest.raises(ProviderRefused) as caught:
        everything(users())
    assert f"page 1: {provider.url}/v1/users answered {status}" in str(caught.value)
    assert words in str(caught.value)
    assert "private detail" not in str(caught.value)
    assert not caught.value.retryable
    assert len(provider.asked) == 1


def test_a_refusal_with_a_broken_body_is_still_that_refusal(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = lambda _: Reply(
        raw=[b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 999\r\n\r\n{"]
    )
    with pytest.raises(ProviderRefused, match="401 Unauthorized"):
        everything(users())


def test_a_redirect_to_another_origin_is_reported_and_not_followed(
    provider: Provider, elsewhere: Provider, users: OpenSource
) -> None:
    provider.answer = lambda _: Reply(
        status=302, headers={"Location": f"{elsewhere.url}/p?token=x"}
    )
    with pytest.raises(ProviderRefused) as caught:
        everything(users())
    assert f"answered 302 Found, a redirect to {elsewhere.url}; redirects are not" in str(
        caught.value
    )
    assert elsewhere.asked == []


def test_a_redirect_within_the_origin_is_not_followed_either(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = lambda _: Reply(status=308, headers={"Location": "/v2/users"})
    with pytest.raises(ProviderRefused, match="308 Permanent Redirect, a redirect; "):
        everything(users())
    assert len(provider.asked) == 1


@pytest.mark.parametrize("allowed", [False, True])
def test_a_next_link_to_another_origin_gets_no_credentials(
    provider: Provider, elsewhere: Provider, data: Data, users: OpenSource, allowed: bool
) -> None:
    provider.answer = lambda _: as_json(
        {"items": [{"id": 1}], "next": f"{elsewhere.url}/p2?secret=x"}
    )
    elsewhere.answer = lambda _: as_json({"items": [{"id": 2}], "next": None})
    stream(data).update(records="items", pagination={"type": "next_url", "url": "next"})
    if allowed:
        data["allowed_hosts"] = [elsewhere.url.removeprefix("http://")]
        source = users()
        assert ids(everything(source), source) == [1, 2]
        assert "authorization" not in elsewhere.asked[0].headers
    else:
        with pytest.raises(PageUnreadable, match="the address of page 2 leads to") as caught:
            everything(users())
        assert "secret=x" not in str(caught.value)
        assert elsewhere.asked == []


# Pages that are not what was promised


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Sign in</html>", "page 1 is not JSON (it is an HTML or XML document)"),
        (b"", "page 1 is empty"),
        (b'{"error": "x", "requestId": 1}', "found an object with keys error, requestId"),
        (b'{"data": {"next": null}}', "found an object with keys next at 'data'"),
    ],
)
def test_a_200_that_is_no_page_is_permanent(
    provider: Provider, users: OpenSource, body: bytes, words: str
) -> None:
    provider.answer = lambda _: Reply(body)
    with pytest.raises(PageUnreadable) as caught:
        everything(users())
    assert words in str(caught.value)
    assert len(provider.asked) == 1
    said = f"{provider.url}{urlsplit(provider.asked[0].path).path} answered 200 OK, "
    assert said in str(caught.value)
    assert str(caught.value).endswith("look at a page with `elt-assets integrations test`")


def test_an_unusable_page_says_its_type_and_neither_query_nor_secret(
    provider: Provider, users: OpenSource
) -> None:
    kind = f"text/html; token={TOKEN}"
    provider.answer = lambda _: Reply(b"<html>", 200, {"Content-Type": kind})
    with pytest.raises(PageUnreadable) as caught:
        everything(users())
    assert "answered 200 OK, text/html; token=" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "?" not in str(caught.value)


def test_a_later_bad_page_comes_after_the_good_ones_with_its_own_number(
    provider: Provider, users: OpenSource
) -> None:
    good = listing(PAGES)
    provider.answer = lambda asked: Reply(b"oops") if asked.number == 3 else good(asked)
    pages = users().pages(None)
    first = next(pages)
    next(pages)
    with pytest.raises(PageUnreadable, match="page 3 is not JSON"):
        next(pages)
    provider.answer = lambda _: Reply(b"oops")
    with pytest.raises(PageUnreadable, match="page 2 is not JSON"):
        list(users().pages(first.next))


def test_an_endless_body_is_cut_off_at_the_limit(provider: Provider, users: OpenSource) -> None:
    def endless() -> Iterator[bytes]:
        yield HEAD + b'\r\n{"data": {"items": ['
        while True:
            yield b'{"id": 1},' * 1000

    provider.answer = lambda _: Reply(raw=endless())
    with pytest.raises(PageUnreadable, match=r"page 1 is larger than 100,000 bytes"):
        everything(users(page_bytes=100_000))


def test_a_decompression_bomb_is_cut_off_without_being_unpacked(
    provider: Provider, users: OpenSource
) -> None:
    bomb = gzip.compress(bytes(200 * 2**20))
    provider.answer = lambda _: Reply(bomb, headers={"Content-Encoding": "gzip"})
    source = users(page_bytes=1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(PageUnreadable, match="larger than 1,000,000 bytes"):
            everything(source)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_a_gzip_body_that_never_unpacks_to_anything_is_cut_off(
    provider: Provider, users: OpenSource
) -> None:
    empty = gzip.compress(b"")
    provider.answer = lambda _: Reply(
        raw=itertools.chain([HEAD, b"Content-Encoding: gzip\r\n\r\n"], itertools.repeat(empty))
    )
    with pytest.raises(PageUnreadable, match="larger than 100,000 bytes"):
        everything(users(page_bytes=100_000))


def test_a_compression_that_was_not_asked_for_is_named(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = lambda _: Reply(b"x", headers={"Content-Encoding": "br"})
    with pytest.raises(PageUnreadable, match="compressed as 'br'"):
        everything(users())
    assert provider.asked[0].headers["accept-encoding"] == "gzip"


# Going in circles


def test_a_cursor_seen_before_cuts_the_extraction_short(
    provider: Provider, users: OpenSource
) -> None:
    def answer(asked: Asked) -> Reply:
        following = {"": "a", "a": "b", "b": "c", "c": "a"}[asked.query.get("cursor", "")]
        return as_json({"data": {"items": [{"id": 1}], "next": following}})

    provider.answer = answer
    pages = everything(users())
    assert [page.cut_short for page in pages] == [
        None,
        None,
        None,
        "page 4 leads back to a page already fetched",
    ]
    assert pages[-1].next is not None


def test_a_provider_that_ignores_the_cursor_is_noticed_at_once(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = lambda _: as_json({"data": {"items": [{"id": 1}], "next": "same"}})
    pages = everything(users())
    assert len(pages) == 2
    assert pages[-1].cut_short == "page 2 leads back to a page already fetched"


def test_the_page_limit_cuts_short_and_says_so(provider: Provider, users: OpenSource) -> None:
    provider.answer = listing([[{"id": number}] for number in range(5)])
    pages = everything(users(max_pages=3))
    assert len(pages) == 3
    assert pages[-1].cut_short == "page limit of 3 reached (ELT_ASSETS_MAX_PAGES)"
    assert pages[-1].next is not None


def test_a_listing_that_ends_exactly_at_the_page_limit_is_complete(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = listing(PAGES)
    assert everything(users(max_pages=3))[-1].cut_short is None


def test_the_page_limit_holds_over_a_resumed_extraction(
    provider: Provider, users: OpenSource
) -> None:
    provider.answer = listing([[{"id": number}] for number in range(9)])
    cursor = next(users().pages(None)).next
    pages = list(users(max_pages=3).pages(cursor))
    assert len(pages) == 2
    assert pages[-1].cut_short == "page limit of 3 reached (ELT_ASSETS_MAX_PAGES)"


@pytest.mark.parametrize(
    "cursor", [{}, {"page": 1, "at": "x"}, {"page": 2, "at": None}, "x", 3, {"page": "2", "at": 1}]
)
def test_a_saved_position_of_another_kind_is_refused(users: OpenSource, cursor: object) -> None:
    with pytest.raises(PermanentError, match="start a new sync"):
        next(users().pages(cursor))


def test_a_saved_position_may_not_lead_to_another_origin(
    elsewhere: Provider, data: Data, users: OpenSource
) -> None:
    stream(data).update(records="", pagination={"type": "link_header"})
    with pytest.raises(PageUnreadable, match="leads to"):
        next(users().pages({"page": 2, "at": f"{elsewhere.url}/p2"}))
    assert elsewhere.asked == []


# Manners


def test_requests_keep_to_the_rate_limit(provider: Provider, data: Data, users: OpenSource) -> None:
    provider.answer = listing([[{"id": number}] for number in range(5)])
    data["rate_limit"] = {"requests_per_second": 20}
    started = time.monotonic()
    everything(users())
    assert time.monotonic() - started >= 4 * 0.05


def test_the_longest_wait_is_short_enough_to_sit_out() -> None:
    assert http_module.LONGEST_WAIT <= 60
