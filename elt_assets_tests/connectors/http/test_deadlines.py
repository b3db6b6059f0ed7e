"""Attacks on patience: a peer that drips bytes wherever HTTP lets it.

Each would hold a request for ever if a deadline restarted with every byte.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.http import exchange as wire_module
from elt_assets.connectors.http.exchange import HttpAnswer, HttpConnections, Message
from elt_assets.connectors.http.outgoing import Outgoing
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.errors import PageUnreadable, ProviderUnavailable, TimeBudgetSpent

Drip = Callable[[], Iterator[bytes]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def endless(start: bytes, part: bytes) -> Drip:
    return lambda: itertools.chain([start], itertools.repeat(part))


DRIPS: dict[str, Drip] = {
    "the status line": endless(b"HTTP/1.1 200 ", b"O"),
    "headers": lambda: itertools.chain([OK], (b"X-%d: y\r\n" % n for n in range(90)), _silence()),
    "one header": endless(OK + b"X-Long: ", b"y"),
    "interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": endless(OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "a body without length": endless(OK + b"\r\n[1]", b" "),
    "chunks": endless(CHUNKED, b"1\r\n \r\n"),
    "a chunk extension": endless(CHUNKED + b"1;x=", b"y"),
    "trailers": endless(CHUNKED + b"3\r\n[1]\r\n0\r\n", b"X: y\r\n"),
}


def _silence() -> Iterator[bytes]:
    return itertools.repeat(b"")


@contextmanager
def server(parts: Drip, pause: float, *, greets: bool = False) -> Iterator[str]:
    """An address that answers every request with `parts`, `pause` seconds apart.

    A server that `greets` does not wait for one.
    """
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    taken, _ = listening.accept()
                except OSError:
                    return
                with taken:
                    try:
                        if not greets:
                            taken.recv(65_536)
                        for part in parts():
                            if ended.is_set():
                                return
                            taken.sendall(part)
                            ended.wait(pause)
                    except OSError:
                        continue

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


def fetched(address: str, seconds: float, room: int = 1 << 20) -> HttpAnswer:
    wire = HttpConnections(connections=1, outgoing=Outgoing())
    try:
        return wire.exchange(Message("page 1", address, {}), seconds, room, wanted=bool)
    finally:
        wire.close()


@pytest.mark.parametrize("place", DRIPS)
def test_bytes_that_drip_do_not_stretch_a_request(place: str) -> None:
    with (
        server(DRIPS[place], 0.02) as address,
        pytest.raises(ProviderUnavailable, match=r"page 1 was still arriving after 0\.4 s"),
    ):
        fetched(address, 0.4)


def test_an_encrypted_connection_that_is_never_agreed_on_is_given_up() -> None:
    # One byte of a handshake record at a time: the socket is never silent for long.
    drip = endless(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x00")
    with (
        server(drip, 0.02) as address,
        pytest.raises(ProviderUnavailable, match=r"page 1: cannot reach https://.* 0\.4 s"),
    ):
        fetched(address.replace("http:", "https:"), 0.4)


def test_a_name_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def never(*_: object, **__: object) -> list[object]:
        answered.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    try:
        with pytest.raises(ProviderUnavailable, match=r"no connection within 0\.2 s"):
            fetched("http://slow-name.example/", 0.2)
    finally:
        answered.set()


@pytest.mark.parametrize(
    ("drip", "complaint"),
    [
        (endless(b"HTTP/1.1 200 ", b"O" * 60_000), "headers"),
        (endless(OK, b"X: " + b"y" * 60_000 + b"\r\n"), "headers"),
        (endless(b"", b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 9000 + b"\r\n\r\n"), "headers"),
        (endless(OK, b"X: y\r\n"), "headers"),
        (endless(CHUNKED + b"1;x=", b"y" * 60_000), "wrapped the answer into more bytes"),
        (
            endless(CHUNKED + b"3\r\n[1]\r\n0\r\n", b"X: " + b"y" * 60_000 + b"\r\n"),
            "wrapped the answer into more bytes",
        ),
    ],
    ids=["status", "headers", "interim", "many", "extension", "trailers"],
)
def test_megabytes_around_a_body_are_not_read(drip: Drip, complaint: str) -> None:
    with server(drip, 0) as address, pytest.raises(PageUnreadable, match=complaint):
        fetched(address, 60)


def test_headers_up_to_the_limit_are_read() -> None:
    head = OK + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 60_000) for n in range(4))
    assert len(head) < wire_module.HEAD_BYTES
    with server(lambda: iter([head + b"Content-Length: 2\r\n\r\n[]"]), 0) as address:
        assert fetched(address, 60).body == b"[]"


def source_of(address: str, token_url: str | None = None, **limits: float) -> Source:
    data: dict[str, Any] = {
        "api_endpoint": address.rstrip("/"),
        "streams": {
            "users": {
                "path": "/users",
                "pagination": {"type": "none"},
                "fields": {"external_id": "id"},
            }
        },
    }
    if token_url is not None:
        secret = {"env": "TEST_SECRET"}
        data["auth"] = {
            "type": "oauth2_client_credentials",
            "token_url": token_url,
            "client_id": "us",
            "client_secret": secret,
        }
    chosen: dict[str, Any] = {
        "attempts": 5,
        "first_wait": 0,
        "timeout": 30.0,
        "page_bytes": 1 << 20,
        "max_pages": 10,
        **limits,
    }
    return catalog.open_source(
        "rest", data, "users", secrets=Secrets(), limits=FetchLimits(**chosen)
    )


def test_a_token_endpoint_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", "s3cret")
    with server(DRIPS["one header"], 0.02) as address:
        source = source_of(address, address, timeout=0.3, attempts=1)
        with (
            closing(source),
            pytest.raises(ProviderUnavailable, match=r"the token endpoint .* still arriving"),
        ):
            next(source.pages(None))


def test_all_tries_of_a_page_together_have_one_deadline() -> None:
    with server(DRIPS["a body"], 0.02) as address:
        source = source_of(address, timeout=0.3, page_timeout=0.5)
        with (
            closing(source),
            pytest.raises(
                ProviderUnavailable, match=r"tried 2 times\); the 0\.5 s for one page are over"
            ),
        ):
            next(source.pages(None))


def test_a_request_ends_with_the_integrations_time() -> None:
    with server(DRIPS["a body"], 0.02) as address:
        source = source_of(address, time_budget=0.4)
        with closing(source):
            with pytest.raises(ProviderUnavailable, match="still arriving after"):
                next(source.pages(None))
            with pytest.raises(TimeBudgetSpent, match=r"has taken 0\.4 s"):
                next(source.pages(None))
