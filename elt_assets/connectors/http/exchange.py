"""One request and its response over persistent connections, within limits that no peer can stretch.

The module connects, enforces the deadline of the whole exchange, bounds the bytes received and
raises precise errors. Retries are decided in `http_client`.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from elt_assets.connectors.http.content_coding import inflating
from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.http.open_sockets import OpenSockets
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.http.outgoing import Outgoing
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable, SyncError

_CHUNK = 1 << 16
_ERROR_BODY = 1 << 16
OF_AN_INTEGRATION = "Elt-Assets-Integration"
"""A header of every request, by which the platform's own servers refuse requests of tenants."""
HEAD_BYTES = 1 << 18
"""Most bytes that are read before a body: status lines, interim answers and headers."""
_FRAMING = 1 << 20
"""Bytes that the framing of a body may take in addition to the size of the body itself."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request to send; errors call its answer `what`."""

    what: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    method: str = "GET"
    body: str | None = field(default=None, repr=False)
    into: IO[bytes] | None = field(default=None, repr=False)
    """A file that the body of a wanted answer is written to; the answer's `body` is then empty."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status, headers and a decompressed body. A broken body of an error answer is empty."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class HttpConnections:
    """Kept connections to one integration's provider. Safe to share among threads."""

    def __init__(
        self,
        *,
        connections: int,
        outgoing: Outgoing,
        ca_certs: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._sockets = OpenSockets()
        self._pool = _pool(
            self._sockets,
            outgoing,
            num_pools=4,
            maxsize=connections,
            retries=False,
            ca_certs=ca_certs,
            ssl_context=ssl_context,
        )
        # urllib3's debug lines show whole URLs, and an API key may be part of one.
        logging.getLogger("urllib3").setLevel(logging.INFO)

    def exchange(
        self, message: Message, seconds: float, room: int, *, wanted: Callable[[int], bool]
    ) -> HttpAnswer:
        """Send `message` and read its whole answer within `seconds`.

        The body of an answer with a `wanted` status may have `room` bytes and must be complete.
        Of another answer, up to 64 KiB are read, and a broken body counts as empty. Raises
        `ProviderUnavailable`, `ProviderRefused` or `PageUnreadable`.
        """
        with Deadline(seconds) as deadline:
            exchange = _Exchange(deadline, _Meter())
            _CURRENT.exchange = exchange
            try:
                return self._exchange(message, exchange, room, wanted)
            except (HTTPError, OSError) as error:
                raise _unreachable(error, message, exchange) from None
            finally:
                del _CURRENT.exchange

    def close(self) -> None:
        """End requests that are under way and close the connections."""
        self._sockets.close()
        self._pool.clear()

    def _exchange(
        self, message: Message, exchange: _Exchange, room: int, wanted: Callable[[int], bool]
    ) -> HttpAnswer:
        answer = self._pool.request(
            message.method,
            message.url,
            body=message.body,
            headers={**message.headers, OF_AN_INTEGRATION: "1"},
            redirect=False,
            preload_content=False,
            timeout=exchange.deadline.seconds,
        )
        try:
            if answer.status == 304:
                answer.release_conn()
                return HttpAnswer(answer.status, answer.headers, b"")
            if wanted(answer.status):
                exchange.meter.allow(2 * room + _FRAMING)
                body = _body(answer, message, exchange, room, message.into)
            else:
                exchange.meter.allow(2 * _ERROR_BODY + _FRAMING)
                body = b""
                # The body of an error answer may itself be broken; the status is what counts.
                with suppress(HTTPError, OSError, SyncError):
                    body = _body(answer, message, exchange, _ERROR_BODY)
        except BaseException:
            # Otherwise the unread rest of the body would be read as the next answer.
            answer.close()
            raise
        return HttpAnswer(answer.status, answer.headers, body)


class _TooMuch(OSError):
    """The peer sent more bytes than are allowed."""


class _Meter:
    """Counts received bytes; until `allow` is called, only `HEAD_BYTES` are accepted."""

    def __init__(self) -> None:
        self.received = 0
        self.room = HEAD_BYTES
        self.in_head = True

    def allow(self, room: int) -> None:
        """Accept `room` further bytes from now on."""
        self.in_head = False
        self.room = self.received + room

    def add(self, size: int) -> None:
        """Count `size` bytes. Raises `_TooMuch` once they exceed the room."""
        self.received += size
        if self.received > self.room:
            raise _TooMuch("too much was sent")


@dataclass(slots=True)
class _Exchange:
    deadline: Deadline
    meter: _Meter
    connected: bool = False


class _Current(threading.local):
    exchange: _Exchange


_CURRENT = _Current()
"""The exchange of this thread: urllib3 has no way to pass an argument to a connection."""


class _Metered(io.RawIOBase):
    """The bytes of a socket, counted by a meter."""

    def __init__(self, raw: io.RawIOBase, meter: _Meter) -> None:
        self._raw = raw
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        self._meter.add(count or 0)
        return count

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose head and body are both metered."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_Metered(raw, _CURRENT.exchange.meter))


def _pool(sockets: OpenSockets, outgoing: Outgoing, **options: Any) -> urllib3.PoolManager:
    """A pool whose connections obey `outgoing` and the limits of their thread's exchange."""

    class Bounded(HTTPConnection):
        response_class = _Response

        def _new_conn(self) -> socket.socket:
            exchange = _CURRENT.exchange
            host = self._dns_host.strip("[]")
            try:
                one = outgoing.connect(host, self.port, exchange.deadline, self.socket_options)
            except UnicodeError:
                raise LocationParseError(f"{host!r}, label empty or too long") from None
            except socket.gaierror as error:
                raise NameResolutionError(self.host, self, error) from error
            except TimeoutError as error:
                raise ConnectTimeoutError(self, "no connection in time") from error
            except OSError as error:
                raise NewConnectionError(self, f"no connection: {error}") from error
            exchange.connected = True
            return one

        def connect(self) -> None:
            super().connect()
            sockets.opened(self.sock)

        def request(self, *args: Any, **options: Any) -> None:
            exchange = _CURRENT.exchange
            if self.sock is not None and not exchange.connected:
                exchange.connected = True
                exchange.deadline.watch(self.sock, connected=True)
            super().request(*args, **options)

    class BoundedAndEncrypted(Bounded, HTTPSConnection):
        def connect(self) -> None:
            HTTPSConnection.connect(self)
            sockets.opened(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Bounded

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = BoundedAndEncrypted

    pool = urllib3.PoolManager(**options)
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": EncryptedPool}
    return pool


def _body(
    answer: urllib3.BaseHTTPResponse,
    message: Message,
    exchange: _Exchange,
    room: int,
    into: IO[bytes] | None = None,
) -> bytes:
    """Read the decompressed body; raise an error as soon as it exceeds a limit."""
    try:
        inflate = inflating(answer.headers.get("content-encoding", ""))
    except LookupError as error:
        coding = str(error.args[0])[:20]
        raise PageUnreadable(
            f"{message.what} is compressed as {coding!r}, but the request accepts only gzip"
        ) from None
    chunks: list[bytes] = []
    size = received = 0
    if into is not None:
        # Drop the bytes that an earlier attempt wrote.
        into.seek(0)
        into.truncate()
    while chunk := answer.read1(_CHUNK, decode_content=False):
        received += len(chunk)
        try:
            chunk = chunk if inflate is None else inflate.feed(chunk, room - size + 1)
        except zlib.error:
            raise ProviderUnavailable(f"{message.what} has a damaged compressed body") from None
        if into is None:
            chunks.append(chunk)
        else:
            into.write(chunk)
        size += len(chunk)
        if size > room or received > room:
            raise too_large(message, room)
    if exchange.deadline.passed:
        # A connection that the deadline shut down looks like the end of the body.
        raise _late(message, exchange)
    if not received and not _declares_its_length(answer):
        # Truncated headers look like an answer without a body.
        raise ProviderUnavailable(f"{message.what} ends before its first byte")
    if inflate is not None and received and not inflate.finished:
        raise ProviderUnavailable(f"{message.what} stops in the middle of its compressed body")
    return b"".join(chunks)


def too_large(message: Message, room: int) -> PageUnreadable:
    """The error for an answer larger than `room` bytes."""
    return PageUnreadable(
        f"{message.what} is larger than {room:,} bytes; ask for fewer records a page, or raise "
        f"ELT_ASSETS_{'PAGE' if message.into is None else 'FILE'}_BYTES"
    )


def _late(message: Message, exchange: _Exchange) -> ProviderUnavailable:
    seconds = f"{exchange.deadline.seconds:g} s"
    origin = Origin.of(message.url)
    if not exchange.connected:
        why = f"cannot reach {origin}: no connection within {seconds}"
    elif not exchange.meter.received:
        why = f"cannot reach {origin}: silence for {seconds}"
    else:
        return ProviderUnavailable(
            f"{message.what} was still arriving after {seconds}, as long as it may "
            "(ELT_ASSETS_REQUEST_TIMEOUT)"
        )
    return ProviderUnavailable(f"{message.what}: {why} (ELT_ASSETS_REQUEST_TIMEOUT)")


def _unreachable(
    error: HTTPError | OSError, message: Message, exchange: _Exchange
) -> ProviderRefused | ProviderUnavailable | PageUnreadable:
    what, origin = message.what, Origin.of(message.url)
    causes = list(_causes(error))
    if any(isinstance(cause, (_TooMuch, http.client.LineTooLong)) for cause in causes) or (
        "more than 100 headers" in str(error)
    ):
        if exchange.meter.in_head:
            return PageUnreadable(
                f"{what}: {origin} sent more headers, or longer ones, than are ever read "
                f"(100, {HEAD_BYTES:,} bytes together)"
            )
        return PageUnreadable(
            f"{what}: {origin} wrapped the answer into more bytes than the answer may have "
            "(ELT_ASSETS_PAGE_BYTES)"
        )
    if exchange.deadline.passed:
        return _late(message, exchange)
    match error:
        case SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return ProviderRefused(f"{what}: the TLS certificate of {origin} is not trusted here")
        case LocationParseError():
            return ProviderRefused(f"{what}: {origin} is not the name of a host")
        case NameResolutionError():
            why = "its name is not known"
        case NewConnectionError():
            why = _reason(error)
        case ConnectTimeoutError():
            why = f"no connection within {exchange.deadline.seconds:g} s"
        case ReadTimeoutError():
            return _late(message, exchange)
        case InvalidHeader():
            return PageUnreadable(f"{what}: {origin} sent headers that are not HTTP")
        case _:
            return ProviderUnavailable(
                f"{what}: the answer of {origin} was cut short ({_reason(error)})"
            )
    return ProviderUnavailable(f"{what}: cannot reach {origin}: {why}")


def _declares_its_length(answer: urllib3.BaseHTTPResponse) -> bool:
    headers = answer.headers
    return answer.status == 204 or "content-length" in headers or "transfer-encoding" in headers


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        inner = next((item for item in cause.args if isinstance(item, BaseException)), None)
        cause = inner or cause.__cause__ or cause.__context__
    return found


def _reason(error: HTTPError | OSError) -> str:
    """The operating system's message of the cause, or else the class of the error."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    return type(error).__name__
