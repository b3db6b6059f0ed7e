"""Faults below the page: connections, statuses, encodings, credentials and time."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache

import msgspec

from elt_assets.demo.wire import Wire
from elt_assets_tests.testbed.faulty_provider.fault import (
    FAILED,
    INCOMPLETE,
    RIGHT,
    Exchange,
    Family,
    Fault,
    Need,
)

_ENDLESS = 32 * 2**20
_HTML = b"<!doctype html><html><body><h1>Down for maintenance</h1></body></html>"
_PAUSE = 0.05


def raw(
    status: str = "200 OK", headers: tuple[str, ...] = (), body: bytes = b"", length: int | None = 0
) -> bytes:
    """An answer as bytes; `length` is added to the true content length, None omits the header."""
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", *headers]
    if length is not None:
        lines.append(f"content-length: {len(body) + length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


Cut = Callable[[bytes], bytes]


def delivered(deliver: Callable[[Wire, bytes], Awaitable[None]]) -> Callable[[Exchange], None]:
    """An act that replaces the delivery of the body."""

    def act(exchange: Exchange) -> None:
        # These answers have no header for compression, so the body must not be compressed.
        packed = "content-encoding" in exchange.headers
        body = exchange.page.encoded() if packed else exchange.body

        async def delivery(wire: Wire) -> None:
            await deliver(wire, body)

        exchange.delivery = delivery

    return act


def closing(answer: Cut) -> Callable[[Exchange], None]:
    """An act that writes `answer` of the body and closes the connection."""

    async def deliver(wire: Wire, body: bytes) -> None:
        await wire.write(answer(body))
        wire.close()

    return delivered(deliver)


def resetting(answer: Cut) -> Callable[[Exchange], None]:
    """An act that writes `answer` of the body and resets the connection."""

    async def deliver(wire: Wire, body: bytes) -> None:
        await wire.write(answer(body))
        await wire.reset()

    return delivered(deliver)


def answering(
    status: int, body: bytes = b'{"error":"as ordered"}', **headers: str
) -> Callable[[Exchange], None]:
    """An act that answers with this status in place of a page."""

    def act(exchange: Exchange) -> None:
        exchange.status = status
        exchange.spoiled = body
        exchange.headers |= {name.replace("_", "-"): value for name, value in headers.items()}

    return act


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


def _date_in_a_second(exchange: Exchange) -> None:
    exchange.status = 503
    exchange.spoiled = b"{}"
    moment = datetime.now(UTC) + timedelta(seconds=1)
    exchange.headers["retry-after"] = format_datetime(moment, usegmt=True)


def _compressed(exchange: Exchange) -> None:
    exchange.spoiled = gzip.compress(exchange.body)
    exchange.headers["content-encoding"] = "gzip"


def _half_compressed(exchange: Exchange) -> None:
    exchange.spoiled = _half(gzip.compress(exchange.body))
    exchange.headers["content-encoding"] = "gzip"


def _damaged_gzip(exchange: Exchange) -> None:
    packed = bytearray(gzip.compress(exchange.body))
    packed[-6] ^= 0xFF
    exchange.spoiled = bytes(packed)
    exchange.headers["content-encoding"] = "gzip"


@cache
def _blanks() -> bytes:
    """Compressed spaces; made once, because it takes a while."""
    return gzip.compress(b" " * _ENDLESS)


def _bomb(exchange: Exchange) -> None:
    exchange.spoiled = gzip.compress(exchange.body) + _blanks()
    exchange.headers["content-encoding"] = "gzip"


async def _endless(wire: Wire, body: bytes) -> None:
    await wire.write(raw(body=body[:-1], length=None))
    await _write_without_end(wire)


async def _endless_error(wire: Wire, _: bytes) -> None:
    await wire.write(raw("500 Internal Server Error", length=None))
    await _write_without_end(wire)


async def _write_without_end(wire: Wire) -> None:
    for _ in range(_ENDLESS >> 16):
        if not await wire.write(b" " * 2**16):
            return
        while wire.transport.get_write_buffer_size() > 2**20:
            if not await wire.wait(0.01):
                return
    wire.close()


async def _stall(wire: Wire, _: bytes) -> None:
    await wire.write(b"")


async def _stall_in_the_middle(wire: Wire, body: bytes) -> None:
    await wire.write(raw(body=body)[: -len(body) // 2])


async def _drip(wire: Wire, body: bytes) -> None:
    going = await wire.write(raw(body=body)[: -len(body)])
    for byte in body:
        going = going and await wire.write(bytes([byte])) and await wire.wait(_PAUSE)
    wire.close()


async def _slow(wire: Wire, body: bytes) -> None:
    await wire.wait(0.2)
    await wire.write(raw(body=body))
    wire.close()


async def _in_small_pieces(wire: Wire, body: bytes) -> None:
    answer = raw(body=body)
    for start in range(0, len(answer), 97):
        await wire.write(answer[start : start + 97])
    wire.close()


def _chunked(body: bytes, whole: bool) -> bytes:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    first, second = body[: len(body) // 3], body[len(body) // 3 :]
    chunks = b"%x\r\n%b\r\n%x\r\n%b" % (len(first), first, len(second), second)
    return head + (chunks + b"\r\n0\r\n\r\n" if whole else chunks[:-20])


def _echoing(status: int) -> Callable[[Exchange], None]:
    """Answer with an error that quotes the credentials, as some gateways do."""

    def act(exchange: Exchange) -> None:
        exchange.status = status
        said = {"error": {"message": f"cannot serve {exchange.authorization}"}}
        exchange.spoiled = msgspec.json.encode(said)
        exchange.headers["www-authenticate"] = exchange.authorization

    return act


def _redirected(exchange: Exchange) -> None:
    """Redirect the client to another name of this server, which detects its credentials."""
    token = exchange.authorization.rpartition(" ")[2]
    exchange.status, exchange.spoiled = 302, b""
    exchange.headers["location"] = (
        f"http://localhost:{exchange.port}/v1/{exchange.ref.organization_id}/"
        f"{exchange.ref.integration_id}/users?token={token}"
    )


def _spelled(body: bytes) -> bytes:
    return body.decode().encode("utf-16")


def _set_body(change: Cut) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.spoiled = change(exchange.body)

    return act


def _typed(content_type: str) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.headers["content-type"] = content_type

    return act


def _unasked_encoding(exchange: Exchange) -> None:
    exchange.headers["content-encoding"] = "br"


def _passing(name: str, act: Callable[[Exchange], object]) -> Fault:
    """A fault that a retry overcomes."""
    return Fault(name, Family.HTTP, fleeting=RIGHT, lasting=FAILED, act=act)


def _final(name: str, act: Callable[[Exchange], object], family: Family = Family.HTTP) -> Fault:
    """A fault that a retry does not overcome, so a client may stop at once."""
    return Fault(name, family, fleeting=FAILED, lasting=FAILED, act=act)


def _harmless(name: str, act: Callable[[Exchange], object], family: Family = Family.HTTP) -> Fault:
    """An unusual but valid answer."""
    return Fault(name, family, fleeting=RIGHT, lasting=RIGHT, act=act)


def _timing(name: str, deliver: Callable[[Wire, bytes], Awaitable[None]]) -> Fault:
    return Fault(name, Family.TIMING, fleeting=RIGHT, lasting=FAILED, act=delivered(deliver))


FAULTS = (
    _passing("reset_before_the_answer", resetting(lambda _: b"")),
    _passing("closed_before_the_answer", closing(lambda _: b"")),
    _passing("closed_in_the_headers", closing(lambda body: raw(body=body)[:40])),
    _passing("closed_after_the_headers", closing(lambda body: raw(body=body)[: -len(body)])),
    _passing("reset_in_the_body", resetting(lambda body: raw(body=body)[: -len(body) // 2])),
    _passing("body_shorter_than_declared", closing(lambda body: raw(body=_half(body), length=500))),
    _passing("length_smaller_than_the_body", closing(lambda body: raw(body=body, length=-40))),
    _passing("body_cut_without_a_length", closing(lambda b: raw(body=_half(b), length=None))),
    _passing("headers_cut_without_a_body", closing(lambda _: raw(length=None))),
    _passing("chunks_cut", closing(lambda body: _chunked(body, whole=False))),
    _harmless("chunks", closing(lambda body: _chunked(body, whole=True))),
    _harmless("no_length", closing(lambda body: raw(body=body, length=None))),
    _passing("status_500", answering(500)),
    _passing("status_500_that_quotes_the_credentials", _echoing(500)),
    _passing("status_500_with_html", answering(500, _HTML, content_type="text/html")),
    _passing("status_500_with_an_endless_body", delivered(_endless_error)),
    _passing("status_502", answering(502, _HTML)),
    _passing("status_503", answering(503, b"")),
    _passing("status_503_until_a_date", _date_in_a_second),
    _passing("status_504", answering(504)),
    _passing("status_408", answering(408)),
    _passing("status_429", answering(429)),
    _passing("status_429_for_a_second", answering(429, retry_after="1")),
    _final("status_429_for_an_hour", answering(429, retry_after="3600")),
    _passing("status_503_with_an_odd_date", answering(503, retry_after="soon")),
    # A 404 never means the end of a listing, not even after a link to a next page.
    Fault(
        "status_404",
        Family.HTTP,
        FAILED | INCOMPLETE,
        FAILED | INCOMPLETE,
        act=answering(404),
    ),
    _final("status_400_that_quotes_the_credentials", _echoing(400)),
    # Some providers end a listing with 204; the total decides whether this is an end.
    Fault(
        "status_204",
        Family.HTTP,
        FAILED | INCOMPLETE,
        FAILED | INCOMPLETE,
        act=answering(204, b""),
        # Without a total, this answer after a page of records looks like a real end.
        needs=frozenset({Need.TOTAL}),
    ),
    _final("redirect_elsewhere", _redirected),
    _final("redirect_forever", answering(307, b"", location="?again=1")),
    _final("html_page", answering(200, _HTML, content_type="text/html")),
    _final("empty_body", answering(200, b"")),
    _passing("not_http", closing(lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
    _harmless("wrong_content_type", _typed("text/plain; charset=latin-1")),
    _harmless("byte_order_mark", _set_body(lambda body: b"\xef\xbb\xbf" + body)),
    _final("utf_16", _set_body(_spelled)),
    _harmless("gzip", _compressed),
    _passing("gzip_cut", _half_compressed),
    _passing("gzip_damaged", _damaged_gzip),
    _final("gzip_bomb", _bomb),
    _final("encoding_nobody_asked_for", _unasked_encoding),
    _final("endless_body", delivered(_endless)),
    _final("status_401_once", answering(401), Family.AUTH),
    Fault("status_401_always", Family.AUTH, lasting=FAILED, act=answering(401)),
    _final("status_403", answering(403), Family.AUTH),
    Fault("token_expires", Family.AUTH, lasting=FAILED, act=answering(401), from_page=2),
    _harmless("slow_page", delivered(_slow), Family.TIMING),
    _harmless("small_pieces", delivered(_in_small_pieces), Family.TIMING),
    _timing("stall", _stall),
    _timing("stall_in_the_body", _stall_in_the_middle),
    _timing("drip", _drip),
)
