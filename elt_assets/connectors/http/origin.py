"""Where a request may go, and where credentials may go with it.

The module compares origins (scheme, host, port) and refuses those that are not allowed. The
function that parses a URL for the connection also parses it here, so that the checked URL and the
connected one cannot differ.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from elt_assets.errors import PageUnreadable

_PORTS = {"http": 80, "https": 443}
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: the unit to which credentials are bound."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http(s) URL. Raises `ValueError`: "has credentials in it …"."""
        if _UNPRINTABLE.search(url):
            raise ValueError("has a space, a backslash or a control character in it")
        try:
            parts = parse_url(url)
        except LocationParseError:
            raise ValueError("is not a URL") from None
        if parts.scheme not in _PORTS or not parts.host:
            raise ValueError("does not start with http:// or https:// and a host")
        if parts.auth is not None:
            raise ValueError("has credentials in it; put them into auth")
        return cls(parts.scheme, parts.host.lower(), parts.port or _PORTS[parts.scheme])

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def is_private(self) -> bool:
        """Whether no third party can read what is sent there: by TLS, or on this machine."""
        return self.scheme == "https" or self.is_loopback

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


@dataclass(frozen=True, slots=True)
class Origins:
    """The integration's own origin, and the hosts that may get requests without credentials."""

    own: Origin
    allowed_hosts: frozenset[str] = frozenset()
    allow_plain_http: bool = False

    def may_carry_credentials(self, url: str, what: str) -> bool:
        """True for the own origin, False for an allowed host. Raises `PageUnreadable` otherwise.

        `what` names the URL in the error, which shows the origin alone: a link's path and
        query may hold anything.
        """
        try:
            origin = Origin.of(url)
        except ValueError as error:
            raise PageUnreadable(f"{what} {error}") from None
        if origin == self.own:
            return True
        if not ({origin.host, f"{origin.host}:{origin.port}"} & self.allowed_hosts):
            raise PageUnreadable(
                f"{what} leads to {origin}, not to {self.own}; if that is right, list "
                f"{origin.host} in allowed_hosts (it gets no credentials)"
            )
        if not (origin.is_private or self.allow_plain_http):
            raise PageUnreadable(
                f"{what} leads to {origin} without encryption; set allow_plain_http: true to allow "
                "it"
            )
        return False
