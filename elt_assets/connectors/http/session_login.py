"""A session: one request logs in, and each further request carries the session it returned.

The session lives as long as the source. It is opened again before it ends, and once more when the
provider refuses it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.http.auth import Credentials, is_sendable, named
from elt_assets.connectors.http.error_bodies import complaint
from elt_assets.connectors.http.exchange import HttpAnswer, HttpConnections, Message
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.json.page_words import described
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.mapping.expressions import Expression
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable

_LARGEST_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Login:
    """The request that logs in, and where its answer holds the session."""

    url: str
    content: Mapping[str, str | SecretRef]
    form: Literal["json", "form"]
    token: Expression | None
    cookie: str | None
    answer_header: str | None

    @property
    def named_secrets(self) -> str:
        """Where the secrets are kept, for messages."""
        return ", ".join(named(one) for one in self.content.values() if isinstance(one, SecretRef))


@dataclass
class LoginSession:
    """Sends the current session in a header. Safe to share among threads."""

    login: Login
    limits: FetchLimits
    header: str
    prefix: str
    lifetime: float
    query_parameters: frozenset[str] = frozenset()
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _value: str | None = field(default=None, init=False)
    _good_until: float = field(default=0.0, init=False)

    @property
    def advice(self) -> str:
        """Name where the secrets are kept."""
        return f"check what the account whose secret is in {self.login.named_secrets} may do"

    def credentials(self, secrets: Secrets) -> Credentials:
        """The current session; a new one is opened if there is none or its lifetime is over.

        Raises `SecretMissing`, `ProviderRefused`, `ProviderUnavailable` or `PageUnreadable`.
        """
        with self._lock:
            if self._value is None or time.monotonic() >= self._good_until:
                self._value = self.prefix + self._opened(secrets)
                self._good_until = time.monotonic() + self.lifetime
            return Credentials({self.header: self._value}, {})

    def renew(self, refused: Credentials) -> bool:
        """Drop the refused session, unless another thread has already replaced it."""
        with self._lock:
            if refused.headers.get(self.header) == self._value:
                self._value = None
        return True

    def _opened(self, secrets: Secrets) -> str:
        login = self.login
        what = f"the login at {Origin.of(login.url)}"
        answer = self._answer(what, secrets)
        if answer.status == 429 or answer.status >= 500:
            raise ProviderUnavailable(f"{what} answered {answer.status}")
        if not _is_accepted(answer.status):
            raise ProviderRefused(
                f"{what} answered {answer.status} ({described(answer.body)}"
                f"{complaint(answer.body)}); check the secret in {login.named_secrets}"
            )
        found = _session_in(answer, login)
        if not found or not is_sendable(found):
            raise PageUnreadable(
                f"{what} gave no session at {_place(login)} ({described(answer.body)})"
            )
        secrets.remember(found)
        return found if login.cookie is None else f"{login.cookie}={found}"

    def _answer(self, what: str, secrets: Secrets) -> HttpAnswer:
        login = self.login
        content = {
            name: secrets.resolve(value) if isinstance(value, SecretRef) else value
            for name, value in login.content.items()
        }
        kind, body = "application/json", json.dumps(content, ensure_ascii=False)
        if login.form == "form":
            kind, body = "application/x-www-form-urlencoded", urlencode(content)
        # The secrets are sent over a connection of its own, which no other request uses.
        wire = HttpConnections(connections=1, outgoing=self.limits.outgoing)
        try:
            return wire.exchange(
                Message(
                    what,
                    login.url,
                    {"Accept": "application/json", "Content-Type": kind},
                    "POST",
                    body,
                ),
                self.limits.timeout,
                _LARGEST_ANSWER,
                wanted=_is_accepted,
            )
        finally:
            wire.close()


def _session_in(answer: HttpAnswer, login: Login) -> str | None:
    if login.cookie is not None:
        cookies = answer.headers.get("set-cookie") or ""
        found = re.search(rf"(?:^|,\s*){re.escape(login.cookie)}=([^;,\s]+)", cookies)
        return None if found is None else found[1]
    if login.answer_header is not None:
        return (answer.headers.get(login.answer_header) or "").strip() or None
    try:
        document: Any = decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if login.token is None else text_at(login.token, document)


def _place(login: Login) -> str:
    if login.cookie is not None:
        return f"the cookie {login.cookie}"
    return f"the header {login.answer_header}" if login.answer_header is not None else "token"


def _is_accepted(status: int) -> bool:
    return status in (200, 201, 204)
