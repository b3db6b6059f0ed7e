"""A signature of each request with a shared key (HMAC, RFC 2104)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from typing import Literal
from urllib.parse import parse_qsl, quote

from urllib3.util import parse_url

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.http.auth import Credentials, UnsignedRequest, named, sendable
from elt_assets.connectors.mapping.templates import filled
from elt_assets.errors import SecretMissing

SIGNED_NAMES = (
    *("method", "host", "path", "query", "sorted_query"),
    *("body", "body_hash", "timestamp"),
)
VALUE_NAMES = ("signature", "timestamp")


@dataclass(frozen=True, slots=True)
class Hmac:
    """Signs each request with a shared key and the current time."""

    key: SecretRef
    key_encoding: Literal["text", "base64", "hex"]
    algorithm: str
    signed: str
    encoding: Literal["hex", "base64"]
    header: str
    value: str
    timestamp: Literal["epoch", "epoch_ms", "iso", "mail"]
    timestamp_header: str | None
    user: str | SecretRef | None
    query_parameters: frozenset[str] = frozenset()

    @property
    def advice(self) -> str:
        """Name where the key is kept, and the other inputs of the signature."""
        return f"check the key in {named(self.key)}, what is signed, and this machine's clock"

    def credentials(self, secrets: Secrets) -> Credentials:
        """A signing function with the key, read from its reference now."""
        user = sendable(self.user, secrets) if isinstance(self.user, SecretRef) else self.user
        return Credentials({}, {}, partial(self._headers, self._key(secrets), user))

    def renew(self, refused: Credentials) -> bool:
        """False: the same key would sign again."""
        return False

    def _headers(self, key: bytes, user: str | None, request: UnsignedRequest) -> dict[str, str]:
        moment = self._moment()
        parts = parse_url(request.url)
        body = request.body.encode()
        signed = filled(
            self.signed,
            {
                "method": request.method,
                "host": parts.netloc or "",
                "path": parts.path or "/",
                "query": parts.query or "",
                "sorted_query": _sorted(parts.query or ""),
                "body": request.body,
                "body_hash": hashlib.new(self.algorithm, body).hexdigest(),
                "timestamp": moment,
            },
        )
        digest = hmac.new(key, signed.encode(), self.algorithm).digest()
        signature = digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode()
        value = filled(self.value, {"signature": signature, "timestamp": moment})
        if user is not None:
            value = f"Basic {base64.b64encode(f'{user}:{value}'.encode()).decode()}"
        headers = {self.header: value}
        if self.timestamp_header is not None:
            headers[self.timestamp_header] = moment
        return headers

    def _moment(self) -> str:
        now = time.time()
        match self.timestamp:
            case "epoch":
                return str(int(now))
            case "epoch_ms":
                return str(int(now * 1000))
            case "mail":
                return formatdate(now)
        return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _key(self, secrets: Secrets) -> bytes:
        text = secrets.resolve(self.key)
        try:
            match self.key_encoding:
                case "base64":
                    return base64.b64decode(text, validate=True)
                case "hex":
                    return bytes.fromhex(text)
        except (binascii.Error, ValueError):
            # The library's message may quote the key.
            raise SecretMissing(
                f"{named(self.key)} does not hold a key in {self.key_encoding}; correct "
                "key_encoding in auth, or the secret"
            ) from None
        return text.encode()


def _sorted(query: str) -> str:
    """The parameters in the order of their names, encoded as OAuth 1.0 does (RFC 5849, 3.6)."""
    pairs = sorted(
        (quote(name, safe="~"), quote(value, safe="~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    return "&".join(f"{name}={value}" for name, value in pairs)
