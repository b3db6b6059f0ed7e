"""Signed assertions (RFC 7523) that request an OAuth token with a private key.

The module builds the claims and the signature, and checks the key file. The assertion is sent, and
the token kept, in `oauth`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.http.auth import named
from elt_assets.errors import SecretMissing

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFETIME = 3600
"""Seconds, the most that Google accepts. An assertion is used immediately and only once."""

CLIENT_LIFETIME = 300
"""Seconds. Some servers refuse a client's assertion with a longer lifetime."""


@dataclass(frozen=True, slots=True)
class _Key:
    pem: str
    issuer: str | None
    id: str | None


@dataclass(frozen=True, slots=True)
class SignedAssertion:
    """An assertion signed by `key`; its issuer may be in a Google key file."""

    key: SecretRef
    audience: str
    algorithm: str
    key_id: str | None
    issuer: str | None
    subject: str | None
    scope: str | None = None
    lifetime: int = _LIFETIME

    @property
    def named_secret(self) -> str:
        """Where the key is kept, for messages."""
        return named(self.key)

    def signed(self, secrets: Secrets) -> str:
        """A new assertion. Raises `SecretMissing`."""
        assertion = self._signed(self._key(secrets))
        secrets.remember(assertion)
        return assertion

    def _signed(self, key: _Key) -> str:
        import jwt

        now = int(time.time())
        issuer = self.issuer or key.issuer
        if issuer is None:
            raise SecretMissing(
                f"{self.named_secret} does not name the issuer; set issuer in auth next to the key"
            )
        claims: dict[str, object] = {
            "iss": issuer,
            "aud": self.audience,
            "iat": now,
            "exp": now + self.lifetime,
            "jti": str(uuid.uuid4()),
        }
        if self.subject is not None:
            claims["sub"] = self.subject
        if self.scope is not None:
            # Google reads the scope from the claims, other servers read it from the form.
            claims["scope"] = self.scope
        key_id = self.key_id or key.id
        try:
            return jwt.encode(
                claims,
                key.pem,
                algorithm=self.algorithm,
                headers=None if key_id is None else {"kid": key_id},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            # The library's message may quote the key.
            raise SecretMissing(
                f"{self.named_secret} holds no private key for {self.algorithm}; store the PEM "
                "text or the JSON key file of a Google service account"
            ) from None

    def _key(self, secrets: Secrets) -> _Key:
        text = secrets.resolve(self.key)
        if not text.startswith("{"):
            return _Key(text, None, None)
        try:
            found = json.loads(text)
        except ValueError:
            found = {}
        pem, issuer, key_id = (
            value if isinstance(value := found.get(name), str) else None
            for name in ("private_key", "client_email", "private_key_id")
        )
        if pem is None:
            raise SecretMissing(
                f"{self.named_secret} is JSON without a private_key; store the JSON key file "
                "of a service account as it was downloaded"
            )
        secrets.remember(pem.strip())
        return _Key(pem, issuer, key_id)


@dataclass(frozen=True, slots=True)
class AssertionGrant:
    """Requests a token with an assertion."""

    token_url: str
    assertion: SignedAssertion
    fields: Mapping[str, str]
    refresh_token: None = None

    @property
    def named_secret(self) -> str:
        """Where the key is kept, for messages."""
        return self.assertion.named_secret

    @property
    def to_check(self) -> str:
        """What may be wrong when the assertion is refused."""
        return f"issuer, subject, scope and the key in {self.named_secret}"

    def request(self, secrets: Secrets) -> tuple[dict[str, str], dict[str, str]]:
        """Form fields and headers. Raises `SecretMissing`."""
        assertion = self.assertion.signed(secrets)
        return {"grant_type": GRANT_TYPE, "assertion": assertion, **self.fields}, {}


class ClientAssertionGrant(AssertionGrant):
    """A client that authenticates with a signature (private_key_jwt, RFC 7523, section 2.2)."""

    @property
    def to_check(self) -> str:
        return f"client_id, audience, key_id, scope and the key in {self.named_secret}"

    def request(self, secrets: Secrets) -> tuple[dict[str, str], dict[str, str]]:
        fields = {
            "grant_type": "client_credentials",
            "client_id": str(self.assertion.subject),
            "client_assertion_type": CLIENT_ASSERTION,
            "client_assertion": self.assertion.signed(secrets),
        }
        return fields | dict(self.fields), {}
