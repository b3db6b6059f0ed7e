"""One connection to a directory: TLS, bind, searches, and translation of the server's errors.

The egress policy, deadlines and size limits apply as for HTTP. Entries become records in
`entry_records`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urlsplit

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.http.open_sockets import OpenSockets
from elt_assets.connectors.ldap.codec import (
    LdapEntry,
    Reference,
    Result,
    Search,
    bind_request,
    decoded,
    search_request,
    start_tls_request,
)
from elt_assets.connectors.ldap.ldap_data import LdapConnection
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import (
    PageUnreadable,
    PermanentError,
    ProviderRefused,
    ProviderUnavailable,
    SyncError,
)
from elt_assets.errors.foreign_text import SHOWN, visible

SUCCESS, NO_SUCH_OBJECT = 0, 32
_LIMITS = {
    3: "its time limit",
    4: "its size limit",
    11: "an administrative limit",
}
_REFUSALS = {
    7: "does not take this way of signing in",
    8: "wants TLS or a stronger way of signing in; set tls",
    10: "refers to another server",
    12: "cannot page its answers (simple paged results, RFC 2696)",
    13: "wants TLS; set tls: ldaps or tls: start_tls",
    NO_SUCH_OBJECT: "has no such base, or hides it from this account",
    34: "cannot read the base or user, which is no distinguished name",
    48: "does not take a bind without an account",
    49: "refused user and password",
    50: "does not give this account the right to search there",
}
_UNAVAILABLE = {51: "is busy", 52: "is unavailable", 80: "failed"}
_SMALL = 1 << 20
"""Most bytes of an answer to a request other than a search."""


@dataclass(slots=True)
class SearchAnswer:
    """The answer to one search."""

    entries: list[LdapEntry] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    """Hosts that hold parts of the searched tree."""
    cookie: bytes | None = None
    """The cookie of the next page; empty on the last page, None if the answer was not paged."""
    cut_short: str | None = None


class LdapSession:
    """One connection, opened by the first search. `requests` counts the messages sent."""

    def __init__(
        self,
        connection: LdapConnection,
        *,
        secrets: Secrets,
        limits: FetchLimits,
        sockets: OpenSockets,
    ) -> None:
        self._connection = connection
        self._secrets = secrets
        self._limits = limits
        self._sockets = sockets
        self._socket: socket.socket | None = None
        self._stream: BinaryIO | None = None
        self._number = 0
        self.requests = 0

    def search(self, search: Search) -> SearchAnswer:
        """Send a search and read its whole answer.

        A limit of the server sets `cut_short` and is not an error. Raises `ProviderRefused`,
        `ProviderUnavailable`, `PageUnreadable` or `SecretMissing`.
        """
        with Deadline(self._limits.timeout) as deadline:
            self._open(deadline)
            number = self._sent(lambda number: search_request(number, search))
            answer = SearchAnswer()
            result = self._entries(number, answer, deadline)
        answer.cookie = result.cookie
        if result.code in _LIMITS:
            answer.cut_short = (
                f"the directory stopped at {_LIMITS[result.code]}{_said(result)}; ask for a higher "
                "limit for the account, or divide the stream by base or filter"
            )
        elif result.code != SUCCESS:
            raise self._failure(result, f"a search below {search.base!r}")
        return answer

    def lookup(self, search: Search) -> SearchAnswer | None:
        """Search as `search` does; None if the base does not exist."""
        try:
            return self.search(search)
        except _NotThere:
            return None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._socket is not None:
            self._socket.close()
        self._stream = self._socket = None

    def _entries(self, number: int, answer: SearchAnswer, deadline: Deadline) -> Result:
        room = self._limits.page_bytes
        while True:
            message = self._read(room, deadline)
            room -= len(message)
            to, said = decoded(message)
            if to != number:
                self._check_unsolicited(to)
                continue
            match said:
                case LdapEntry():
                    answer.entries.append(said)
                    if len(answer.entries) > self._limits.page_records:
                        raise PageUnreadable(
                            f"the directory sends more than {self._limits.page_records:,} entries "
                            "for one page (ELT_ASSETS_PAGE_RECORDS); lower page_size, or divide "
                            "the stream by base or filter"
                        )
                case Reference(urls):
                    answer.references.append(_hosts(urls))
                case Result():
                    return said

    def _open(self, deadline: Deadline) -> None:
        if self._socket is not None:
            deadline.watch(self._socket)
            return
        connection = self._connection
        plain = connection.tls == "off"
        try:
            raw = self._limits.outgoing.connect(connection.host, connection.port_used, deadline)
        except (OSError, UnicodeError) as error:
            raise ProviderUnavailable(
                f"{connection.host} port {connection.port_used} cannot be reached: {error}"
            ) from None
        # The deadline ends every wait; a socket's own timeout would restart with each byte.
        raw.settimeout(None)
        self._socket = raw
        self._stream = raw.makefile("rb")
        self._sockets.opened(raw)
        try:
            if connection.tls == "start_tls":
                self._start_tls(deadline)
            if not plain:
                self._encrypt(deadline)
            self._bind(deadline)
        except BaseException:
            self.close()
            raise

    def _start_tls(self, deadline: Deadline) -> None:
        result = self._result(self._sent(start_tls_request), deadline)
        if result.code != SUCCESS:
            raise ProviderRefused(
                f"{self._connection.host} does not take StartTLS{_said(result)}; set tls: ldaps"
            )

    def _encrypt(self, deadline: Deadline) -> None:
        connection = self._connection
        if self._socket is None or self._stream is None:
            raise AssertionError("no connection")
        try:
            context = ssl.create_default_context(cafile=connection.tls_ca)
        except (OSError, ssl.SSLError) as error:
            raise PermanentError(
                f"connection.tls_ca {connection.tls_ca} cannot be read as certificates: {error}"
            ) from None
        self._stream.close()
        try:
            self._socket = context.wrap_socket(self._socket, server_hostname=connection.host)
        except ssl.SSLCertVerificationError as error:
            raise ProviderRefused(
                f"{connection.host} shows a certificate that cannot be verified: "
                f"{error.verify_message.rstrip('.')}. Name its authority in connection.tls_ca"
            ) from None
        except (OSError, ValueError) as error:
            raise ProviderUnavailable(
                f"{connection.host} port {connection.port_used}: TLS failed ({error})"
            ) from None
        self._stream = self._socket.makefile("rb")
        self._sockets.opened(self._socket)
        deadline.watch(self._socket)

    def _bind(self, deadline: Deadline) -> None:
        connection = self._connection
        user = connection.user or ""
        password = "" if connection.password is None else self._secrets.resolve(connection.password)
        number = self._sent(lambda number: bind_request(number, user, password))
        result = self._result(number, deadline)
        if result.code != SUCCESS:
            raise self._failure(result, "the bind")

    def _sent(self, made: Callable[[int], bytes]) -> int:
        if self._socket is None:
            raise AssertionError("no connection")
        self._number += 1
        self.requests += 1
        message = made(self._number)
        try:
            self._socket.sendall(message)
        except OSError as error:
            raise self._lost(error) from None
        return self._number

    def _result(self, number: int, deadline: Deadline) -> Result:
        while True:
            to, said = decoded(self._read(_SMALL, deadline))
            if to == number and isinstance(said, Result):
                return said
            self._check_unsolicited(to)

    def _read(self, room: int, deadline: Deadline) -> bytes:
        """Read one message, a SEQUENCE with a definite length (RFC 4511, section 5.1)."""
        head = self._bytes(2, deadline)
        length = head[1]
        if length == 0x80 or length > 0x84 or head[0] != 0x30:
            raise PageUnreadable(f"{self._connection.host} does not speak LDAP")
        if length > 0x80:
            more = self._bytes(length - 0x80, deadline)
            head, length = head + more, int.from_bytes(more, "big")
        if length > room:
            raise PageUnreadable(
                "the directory sends more bytes for one page than ELT_ASSETS_PAGE_BYTES allows; "
                "lower page_size, or leave large attributes out"
            )
        return head + self._bytes(length, deadline)

    def _bytes(self, count: int, deadline: Deadline) -> bytes:
        if self._stream is None:
            raise AssertionError("no connection")
        try:
            found = self._stream.read(count)
        except (OSError, ValueError) as error:
            raise self._lost(error, deadline) from None
        if len(found) < count:
            raise self._lost(None, deadline)
        return found

    def _lost(self, error: Exception | None, deadline: Deadline | None = None) -> SyncError:
        self.close()
        host = self._connection.host
        if deadline is not None and deadline.passed:
            return ProviderUnavailable(
                f"{host} was still answering after {deadline.seconds:g} s "
                "(ELT_ASSETS_REQUEST_TIMEOUT); lower page_size, or give it an index for the filter"
            )
        return ProviderUnavailable(f"{host} ended the connection" + (f": {error}" if error else ""))

    def _check_unsolicited(self, number: int) -> None:
        if number == 0:
            # Notice of disconnection (RFC 4511, section 4.4.1).
            raise self._lost(None)
        raise PageUnreadable(f"{self._connection.host} answered a request that was not sent")

    def _failure(self, result: Result, what: str) -> SyncError:
        host = self._connection.host
        if result.code in _UNAVAILABLE:
            self.close()
            return ProviderUnavailable(f"{host} {_UNAVAILABLE[result.code]}{_said(result)}")
        words = _REFUSALS.get(result.code, "refused")
        if result.referrals:
            words += f" ({_hosts(result.referrals)})"
        kind = _NotThere if result.code == NO_SUCH_OBJECT else ProviderRefused
        return kind(f"{host} {words}: {what}{_said(result)}")


class _NotThere(ProviderRefused):
    """The base of a search does not exist."""


def _said(result: Result) -> str:
    line = result.message.splitlines()[0] if result.message.strip() else ""
    return f" (result {result.code}{': ' + visible(line, SHOWN) if line else ''})"


def _hosts(urls: Sequence[str]) -> str:
    """The hosts of referrals. The rest of a referral may contain a person's data."""
    hosts = []
    for url in urls:
        try:
            hosts.append(urlsplit(url).hostname or "another server")
        except ValueError:
            hosts.append("another server")
    return visible(" or ".join(dict.fromkeys(hosts)), SHOWN)


class Sessions:
    """Opens the connections of one source, and counts and ends them together."""

    def __init__(
        self, connection: LdapConnection, *, secrets: Secrets, limits: FetchLimits
    ) -> None:
        self._connection = connection
        self._secrets = secrets
        self._limits = limits
        self._sockets = OpenSockets()
        self._opened: list[LdapSession] = []

    def open(self) -> LdapSession:
        session = LdapSession(
            self._connection, secrets=self._secrets, limits=self._limits, sockets=self._sockets
        )
        self._opened.append(session)
        return session

    @property
    def requests(self) -> int:
        """Messages sent so far."""
        return sum(session.requests for session in self._opened)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._sockets.closed

    def close(self) -> None:
        """End searches that are under way on all connections."""
        self._sockets.close()
