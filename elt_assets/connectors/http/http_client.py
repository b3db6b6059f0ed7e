"""Send the requests of a source, with limits, retries and precise errors.

The client decides which failures to retry, and reports a refusal without quoting a secret or a
person's data. Connections and their limits are in `exchange`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import IO, TypeVar
from urllib.parse import urlencode

import tenacity
from urllib3.util import parse_url

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import slot
from elt_assets.connectors.http.auth import Authenticator, Credentials, UnsignedRequest
from elt_assets.connectors.http.client_certificate import Identity
from elt_assets.connectors.http.error_bodies import (
    asks_to_slow_down,
    complaint,
    is_refusal_in_disguise,
    named_in,
    speaks_of_expired_position,
    unsaid_wait,
)
from elt_assets.connectors.http.exchange import HttpAnswer, HttpConnections, Message
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.http.rate_limit import seconds_asked_for, seconds_until_refilled
from elt_assets.connectors.http.throttle import Throttle
from elt_assets.connectors.json.page_words import described
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable, TimeBudgetSpent
from elt_assets.errors.foreign_text import visible

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""Seconds. A provider that demands a longer wait gets no request until the sync's next attempt."""

_TRY_AGAIN = frozenset({408, 425, 429})
_LONGEST_KIND = 60


@dataclass(frozen=True, slots=True)
class Posted:
    """The body of a POST request."""

    content_type: str
    text: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The request for one page. Credentials are added when it is sent and never kept in it."""

    what: str
    url: str
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    with_credentials: bool = True
    etag: str | None = field(default=None, repr=False)
    """The ETag of a known answer; if the answer still has it, the provider sends only a 304."""
    posted: Posted | None = field(default=None, repr=False)
    """The body of a POST; None for a GET."""
    into: IO[bytes] | None = field(default=None, repr=False)
    """A file that the body of the answer is written to; it may be larger than a page."""
    answers: frozenset[int] = frozenset()
    """Further statuses that are answers and no errors, such as 404 to a request for one record."""


@dataclass(frozen=True, slots=True)
class Response:
    """A 2xx answer, whole and decompressed; or a 304 to a request with an `etag`.

    A request may name further statuses that are answers to it.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    unchanged: bool = False
    status: int = HTTPStatus.OK


class NotThere(ProviderRefused):
    """404 or 410: there is nothing at the address."""

    def __init__(self, message: str, answer: Response | None = None) -> None:
        super().__init__(message)
        self.answer = answer


class Gone(NotThere):
    """410: there was something at the address."""


class BadRequest(ProviderRefused):
    """400: the provider does not accept something in the request."""


class PositionExpired(ProviderRefused):
    """The answer states that the requested position is no longer valid."""


class Unauthorized(ProviderRefused):
    """401: the provider does not accept the credentials."""


class AskedToWait(ProviderUnavailable):
    """The provider asks to wait `seconds` before the next request."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Client:
    """Sends one integration's requests over kept connections. Safe to share among threads."""

    def __init__(
        self,
        *,
        limits: FetchLimits,
        secrets: Secrets,
        auth: Authenticator,
        headers: Mapping[str, str],
        throttle: Throttle,
        connections: int,
        identity: Identity | None = None,
    ) -> None:
        """With an `identity`, only requests with credentials present its certificate."""
        self._identity = identity
        self._identified: HttpConnections | None = None
        self._limits = limits
        self._secrets = secrets
        self._auth = auth
        self._headers = {"Accept": "application/json", **headers, "Accept-Encoding": "gzip"}
        self._throttle = throttle
        self._connections = connections
        self._in_flight = threading.BoundedSemaphore(connections)
        self._retries_left = limits.retry_budget
        self._counting = threading.Lock()
        self.requests = 0
        """Requests sent so far."""
        self._wire = HttpConnections(connections=connections, outgoing=limits.outgoing)
        self._ends = time.monotonic() + limits.time_budget
        self._closing = threading.Event()

    def fetch(
        self,
        request: PageRequest,
        read: Callable[[Response], T],
        stop: threading.Event | None = None,
    ) -> T:
        """Send `request` until `read` accepts the answer or the attempts are used up.

        `read` is part of an attempt: if it raises `ProviderUnavailable` (for a page that stops in
        the middle), the request is retried as after a network error. `stop` ends any wait.
        """
        stop = self._closing if stop is None else stop
        ends = min(time.monotonic() + self._limits.page_timeout, self._ends)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(self._limits.attempts),
                tenacity.stop_before_delay(max(0.0, ends - time.monotonic())),
            ),
            wait=self._wait,
            retry=tenacity.retry_if_exception(lambda error: self._worth_another_try(error, stop)),
            sleep=partial(_rest, stop),
            reraise=True,
        )
        try:
            accepted: T = retrying(self._attempt, request, read, stop, ends)
            return accepted
        except ProviderUnavailable as error:
            # A message may quote an answer, and a provider may have echoed a secret in it.
            tries = int(retrying.statistics["attempt_number"])
            tried = f" (tried {tries} times)" if tries > 1 else ""
            if tries < self._limits.attempts and time.monotonic() >= ends:
                tried += f"; the {self._limits.page_timeout:g} s for one page are over"
            if self._retries_left <= 0:
                tried += f"; all {self._limits.retry_budget:,} further tries are used up"
            raise ProviderUnavailable(self._secrets.redact(f"{error}{tried}")) from None
        except (ProviderRefused, PageUnreadable) as error:
            error.args = (self._secrets.redact(str(error)),)
            raise error from None

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    def close(self) -> None:
        """End requests that are under way and waits between attempts; close the connections."""
        self._closing.set()
        self._wire.close()
        with self._counting:
            identified = self._identified
        if identified is not None:
            identified.close()

    def _attempt(
        self,
        request: PageRequest,
        read: Callable[[Response], T],
        stop: threading.Event,
        ends: float,
    ) -> T:
        if time.monotonic() >= self._ends:
            raise TimeBudgetSpent(
                f"{request.what} was not fetched: reading this integration has taken "
                f"{self._limits.time_budget:g} s, as long as it may at a time; what is committed "
                "is kept and continued from (ELT_ASSETS_INTEGRATION_TIMEOUT)"
            )
        credentials = self._credentials(request)
        try:
            response = self._send(request, credentials, stop, ends)
        except Unauthorized:
            if not (request.with_credentials and self._auth.renew(credentials)):
                raise
            response = self._send(request, self._credentials(request), stop, ends)
        try:
            return read(response)
        except (PageUnreadable, ProviderUnavailable) as error:
            error.args = (f"{error}; {_said_by(response)}",)
            raise

    def _credentials(self, request: PageRequest) -> Credentials:
        if request.with_credentials:
            return self._auth.credentials(self._secrets)
        return Credentials({}, {})

    def _send(
        self, request: PageRequest, credentials: Credentials, stop: threading.Event, ends: float
    ) -> Response:
        self._await_turn(request, stop)
        # Several listings may share a client, and each of them prefetches pages.
        with self._in_flight:
            return self._exchange(request, credentials, ends)

    def _exchange(self, request: PageRequest, credentials: Credentials, ends: float) -> Response:
        url = request.url
        headers = self._headers | credentials.headers
        method, body = "GET", None
        if request.posted is not None:
            method, body = "POST", request.posted.text
            headers["Content-Type"] = request.posted.content_type
        if request.etag is not None:
            headers["If-None-Match"] = request.etag
        if params := {**request.params, **credentials.params}:
            url += f"{'&' if '?' in url else '?'}{urlencode(params)}"
        if credentials.sign is not None:
            headers |= credentials.sign(UnsignedRequest(method, url, body or "", headers))
        with self._counting:
            self.requests += 1
        limits, room, seconds = self._limits, self._limits.page_bytes, self._limits.timeout
        if request.into is not None:
            room, seconds = limits.files.bytes, limits.page_timeout
        answer = self._wire_of(request).exchange(
            Message(request.what, url, headers, method, body, request.into),
            max(0.0, min(seconds, ends - time.monotonic())),
            room,
            wanted=_is_success,
        )
        unchanged = answer.status == 304 and request.etag is not None
        if not (unchanged or _is_success(answer.status) or answer.status in request.answers) or (
            _is_success(answer.status) and is_refusal_in_disguise(answer.body)
        ):
            raise self._refusal(answer, request)
        wait = seconds_until_refilled(answer.headers, self._connections)
        if wait is not None:
            self._throttle.hold(wait)
        return Response(request.url, answer.headers, answer.body, unchanged, answer.status)

    def _wire_of(self, request: PageRequest) -> HttpConnections:
        """The connections for a request; those that present the certificate are separate."""
        if self._identity is None or not request.with_credentials:
            return self._wire
        with self._counting:
            if self._identified is None:
                self._identified = HttpConnections(
                    connections=self._connections,
                    outgoing=self._limits.outgoing,
                    ssl_context=self._identity.context(self._secrets),
                )
                if self.closed:
                    self._identified.close()
            return self._identified

    def _await_turn(self, request: PageRequest, stop: threading.Event) -> None:
        seconds = self._throttle.reserve()
        if seconds > LONGEST_WAIT:
            raise AskedToWait(
                f"{request.what} was not requested: the provider's quota is used up for "
                f"{seconds:.0f} s",
                seconds,
            )
        _rest(stop, seconds)
        if stop.is_set():
            raise ProviderUnavailable(f"{request.what} was not fetched: the source is closed")

    def _refusal(
        self, answer: HttpAnswer, request: PageRequest
    ) -> ProviderRefused | ProviderUnavailable:
        status, body = answer.status, answer.body
        said = f"{request.what}: {shown(request.url)} answered {status}{_phrase(status)}"
        seconds = seconds_asked_for(answer.headers)
        if seconds is None:
            seconds = seconds_until_refilled(answer.headers, 1)
        if seconds is None:
            seconds = unsaid_wait(body)
        # Some providers report a used-up quota with these: Google and GitHub 403, Linear 400.
        limited = (
            _is_success(status)
            or (status == 403 and seconds is not None)
            or (status in (400, 403) and asks_to_slow_down(body))
        )
        # 501 is not retried: a retry does not change what the server implements.
        broken = status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED
        if status in _TRY_AGAIN or broken or limited:
            if not seconds:
                return ProviderUnavailable(said)
            self._throttle.hold(min(seconds, LONGEST_WAIT))
            return AskedToWait(f"{said} and asks to wait {seconds:g} s", seconds)
        if 300 <= status < 400:
            return ProviderRefused(
                f"{said}, a redirect{_target(answer.headers.get('location'))}; redirects are "
                "not followed, put the right address into api_endpoint or path"
            )
        refused = self._refused(f"{said} ({described(body)}{complaint(body)})", answer, request)
        refused.parameters = named_in(body, request.params)
        return refused

    def _refused(self, said: str, answer: HttpAnswer, request: PageRequest) -> ProviderRefused:
        status, body = answer.status, answer.body
        match status:
            case 400 | 404 | 409 | 410 | 422 if speaks_of_expired_position(body):
                return PositionExpired(said)
            case 400:
                return BadRequest(said)
            case 401:
                return Unauthorized(f"{said}; {self._auth.advice}")
            case 403:
                said += f"; the credentials may not read this, or {self._auth.advice}"
            case 404 | 410:
                missing = Gone if status == 410 else NotThere
                return missing(
                    f"{said}; check api_endpoint and path",
                    Response(request.url, answer.headers, body, status=status),
                )
        return ProviderRefused(said)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        first = self._limits.first_wait
        backoff = tenacity.wait_exponential(first, max=LONGEST_WAIT) + tenacity.wait_random(
            0, first
        )
        seconds = backoff(state)
        return max(seconds, error.seconds) if isinstance(error, AskedToWait) else seconds

    def _worth_another_try(self, error: BaseException, stop: threading.Event) -> bool:
        if not isinstance(error, ProviderUnavailable) or stop.is_set():
            return False
        if isinstance(error, AskedToWait) and error.seconds > LONGEST_WAIT:
            return False
        with self._counting:
            self._retries_left -= 1
            return self._retries_left >= 0


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _rest(stop: threading.Event, seconds: float) -> None:
    """Wait until `stop` is set, at most `seconds`; the slot is released meanwhile."""
    with slot.waiting(seconds):
        stop.wait(max(0.0, seconds))


def shown(url: str) -> str:
    """The address for messages, without its query, which may hold a cursor or a key."""
    return f"{Origin.of(url)}{parse_url(url).path or '/'}"


def _said_by(response: Response) -> str:
    """The address, status and content type of an unusable answer, and the command to see it."""
    kind = visible(response.headers.get("content-type") or "without a content type", _LONGEST_KIND)
    return (
        f"{shown(response.url)} answered {response.status}{_phrase(response.status)}, {kind}; "
        "look at a page with `elt-assets integrations test`"
    )


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _target(location: str | None) -> str:
    try:
        return f" to {Origin.of(location)}" if location else ""
    except ValueError:
        return ""
