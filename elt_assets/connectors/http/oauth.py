"""OAuth 2.0 tokens: requested when first needed, kept for one sync, renewed before they expire.

The module sends the token request with the client's own grant (client credentials or refresh token)
and reports a refusal by the token endpoint. Assertions are signed in `jwt_assertion`.

A token is never stored: it lives as long as the source, and logs redact it from then on. A refresh
token that replaces the one used is written back to the file that holds it.
"""

from __future__ import annotations

import base64
import codecs
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote_plus, urlencode

import msgspec

from elt_assets.config.secret_file import alone_with, replace_secret
from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.http.auth import Credentials, is_sendable, named, sendable
from elt_assets.connectors.http.error_bodies import complaint
from elt_assets.connectors.http.exchange import HttpConnections, Message
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.json.page_words import described
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable

_LARGEST_ANSWER = 1 << 20
_LONGEST_TOKEN = 1 << 14
_UNSAID_LIFETIME = 300.0
"""Seconds. A token without `expires_in` is requested again after this long."""
_RENEWED_BEFORE = 60.0
"""Seconds before its expiry from which a token is no longer used; at most a tenth of its life."""


class _Token(msgspec.Struct):
    access_token: str
    token_type: str | None = None
    expires_in: Any = None
    refresh_token: str | None = None

    @property
    def lifetime(self) -> float:
        """Seconds until the token expires. Raises `ValueError` if `expires_in` is no number."""
        said = self.expires_in
        if said is None or (isinstance(said, str) and not said.strip()):
            return _UNSAID_LIFETIME
        seconds = float(said) if isinstance(said, str | int | float) else math.nan
        if isinstance(said, bool) or not math.isfinite(seconds):
            raise ValueError("no number of seconds")
        return seconds


class Grant(Protocol):
    """The token request of one kind of grant."""

    @property
    def token_url(self) -> str:
        """The token endpoint's address."""

    @property
    def named_secret(self) -> str:
        """Where the secret is kept, for messages."""

    @property
    def to_check(self) -> str:
        """What to check when the endpoint refuses the request."""

    @property
    def refresh_token(self) -> SecretRef | None:
        """Where the refresh token is kept, which each answer may replace; None without one."""

    def request(self, secrets: Secrets) -> tuple[dict[str, str], dict[str, str]]:
        """Form fields and headers of the token request. Raises `SecretMissing`."""


@dataclass(frozen=True, slots=True)
class ClientGrant:
    """A client with a secret requests a token, for itself or with a user's refresh token."""

    token_url: str
    client_id: str | SecretRef
    client_secret: SecretRef
    fields: Mapping[str, str]
    refresh_token: SecretRef | None = None
    in_body: bool = False

    @property
    def named_secret(self) -> str:
        """Where the client's secret is kept, for messages."""
        return named(self.client_secret)

    @property
    def to_check(self) -> str:
        """What to check when the endpoint refuses the client."""
        what = f"client_id, scope and the secret in {self.named_secret}"
        if self.refresh_token is None:
            return what
        return f"{what}, and whether the refresh token in {named(self.refresh_token)} was used up"

    def request(self, secrets: Secrets) -> tuple[dict[str, str], dict[str, str]]:
        """Form fields and headers; the client's secret is in the form or in a header."""
        client_id = self.client_id
        if isinstance(client_id, SecretRef):
            client_id = sendable(client_id, secrets)
        secret = sendable(self.client_secret, secrets)
        fields = {"grant_type": "client_credentials", **self.fields}
        if self.refresh_token is not None:
            fields["grant_type"] = "refresh_token"
            fields["refresh_token"] = sendable(self.refresh_token, secrets)
        if self.in_body:
            return {**fields, "client_id": client_id, "client_secret": secret}, {}
        # RFC 6749, section 2.3.1: both halves are form-encoded before they are joined.
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
        encoded = base64.b64encode(pair).decode("ascii")
        secrets.remember(encoded)
        return fields, {"Authorization": f"Basic {encoded}"}


class OAuth2:
    """`Authorization: Bearer <token>` with a current token. Safe to share among threads."""

    query_parameters: frozenset[str] = frozenset()

    def __init__(self, grant: Grant, limits: FetchLimits, scheme: str = "Bearer") -> None:
        self._grant = grant
        self._scheme = scheme
        self._limits = limits
        self._lock = threading.Lock()
        self._token: str | None = None
        self._good_until = 0.0

    @property
    def advice(self) -> str:
        """Name where the client's secret is kept."""
        return f"check what the client whose secret is in {self._grant.named_secret} may do"

    def credentials(self, secrets: Secrets) -> Credentials:
        """The current token; a new one is requested if there is none or it is about to expire.

        Raises `SecretMissing`, `ProviderRefused`, `ProviderUnavailable` or `PageUnreadable`.
        """
        with self._lock:
            if self._token is None or time.monotonic() >= self._good_until:
                self._token, seconds = self._ask(secrets)
                self._good_until = time.monotonic() + seconds
            return Credentials({"Authorization": f"{self._scheme} {self._token}"}, {})

    def renew(self, refused: Credentials) -> bool:
        """Drop the refused token, unless another thread has already replaced it."""
        with self._lock:
            if refused.headers.get("Authorization") == f"{self._scheme} {self._token}":
                self._token = None
        return True

    def _ask(self, secrets: Secrets) -> tuple[str, float]:
        """Request an access token and return it with the seconds that it may be used.

        A refresh token in a file may be valid for one use only, so a lock on the file keeps other
        processes from using it at the same time.
        """
        kept = self._grant.refresh_token
        if kept is None or kept.file is None:
            return self._exchanged(secrets)
        path = Path(kept.file).expanduser()
        try:
            with alone_with(path, 2 * self._limits.timeout):
                return self._exchanged(secrets)
        except TimeoutError:
            raise ProviderUnavailable(
                f"{named(kept)} is used by another sync for more than "
                f"{2 * self._limits.timeout:g} s"
            ) from None

    def _exchanged(self, secrets: Secrets) -> tuple[str, float]:
        grant = self._grant
        fields, headers = grant.request(secrets)
        body = urlencode(fields)
        headers |= {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        what = f"the token endpoint {Origin.of(grant.token_url)}"
        # The secret is sent over a connection of its own, which no other request uses.
        wire = HttpConnections(connections=1, outgoing=self._limits.outgoing)
        try:
            answer = wire.exchange(
                Message(what, grant.token_url, headers, "POST", body),
                self._limits.timeout,
                _LARGEST_ANSWER,
                wanted=_is_given,
            )
        finally:
            wire.close()
        text = answer.body
        if answer.status == 429 or answer.status >= 500:
            raise ProviderUnavailable(f"{what} answered {answer.status}")
        if not _is_given(answer.status):
            raise ProviderRefused(
                f"{what} answered {answer.status} ({described(text)}{complaint(text)}); "
                f"check {grant.to_check}"
            )
        try:
            token = msgspec.json.decode(text.removeprefix(codecs.BOM_UTF8), type=_Token)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise PageUnreadable(f"{what} gave no access_token ({described(text)})") from None
        try:
            lifetime = token.lifetime
        except ValueError:
            raise PageUnreadable(f"{what} gave an expires_in that is not a number") from None
        secrets.remember(token.access_token)
        if token.refresh_token and token.refresh_token != fields.get("refresh_token"):
            self._keep(token.refresh_token, what, secrets)
        known = ("bearer", self._scheme.lower())
        if (token.token_type or "bearer").strip().lower() not in known:
            raise PageUnreadable(f"{what} gave a token that is not of type {self._scheme}")
        if not token.access_token.isascii() or not token.access_token.isprintable():
            raise PageUnreadable(f"{what} gave a token that no header can carry")
        return token.access_token, lifetime - min(_RENEWED_BEFORE, lifetime / 10)

    def _keep(self, refresh_token: str, what: str, secrets: Secrets) -> None:
        """Store the refresh token that replaces the one that was used."""
        secrets.remember(refresh_token)
        kept = self._grant.refresh_token
        if kept is None:
            return
        if kept.file is None:
            raise ProviderRefused(
                f"{what} replaces the refresh token with each use, and {named(kept)} cannot take "
                "the new one; authorize again, put the token into a file that the platform may "
                "write, and refer to it as refresh_token: {file: PATH}"
            )
        if len(refresh_token) > _LONGEST_TOKEN or not is_sendable(refresh_token):
            raise PageUnreadable(f"{what} gave a refresh token that cannot be sent back")
        try:
            replace_secret(Path(kept.file).expanduser(), refresh_token)
        except OSError as error:
            raise ProviderRefused(
                f"{what} replaced the refresh token, and the new one cannot be written to "
                f"{named(kept)} ({error.strerror}); let the platform write there, authorize again "
                "and store the token"
            ) from None


def _is_given(status: int) -> bool:
    return status in (200, 201)
