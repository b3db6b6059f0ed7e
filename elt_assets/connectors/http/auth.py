"""Authentication of a request: one small object for each type of auth.

Each object resolves secret references into headers or query parameters when the request is sent,
and holds no secret longer than one call. Whether a URL may receive credentials is decided in
`origin`; tokens are requested in `oauth`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.errors import SecretMissing

_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True, repr=False)
class UnsignedRequest:
    """A request that is about to be sent, as a signature needs it."""

    method: str
    url: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Headers and parameters for one request. Without a repr, so that nothing prints them."""

    headers: dict[str, str]
    params: dict[str, str]
    sign: Callable[[UnsignedRequest], dict[str, str]] | None = None
    """Computes further headers from the complete request, such as a signature."""


class Authenticator(Protocol):
    """Gives the credentials of one request."""

    @property
    def query_parameters(self) -> frozenset[str]:
        """Names of the query parameters that hold credentials, to keep out of stored links."""

    @property
    def advice(self) -> str:
        """What to check when the provider refuses the credentials."""

    def credentials(self, secrets: Secrets) -> Credentials:
        """Resolve the secrets. Raises `SecretMissing`."""

    def renew(self, refused: Credentials) -> bool:
        """Whether `credentials` now returns other credentials than the `refused` ones."""


class _Unchanging:
    """Credentials that only a person can change, so that the platform cannot renew them."""

    __slots__ = ()

    def renew(self, refused: Credentials) -> bool:
        """False: the same secret would be sent again."""
        return False


@dataclass(frozen=True, slots=True)
class Anonymous(_Unchanging):
    """No credentials at all."""

    query_parameters: frozenset[str] = frozenset()
    advice: str = "the integration has no auth; add it to provider_data"

    def credentials(self, secrets: Secrets) -> Credentials:
        """Empty credentials."""
        return Credentials({}, {})


@dataclass(frozen=True, slots=True)
class Bearer(_Unchanging):
    """`Authorization: Bearer <token>`, or another scheme in place of `Bearer`."""

    token: SecretRef
    scheme: str = "Bearer"
    query_parameters: frozenset[str] = frozenset()

    @property
    def advice(self) -> str:
        """Name where the token is kept."""
        return f"check the token in {named(self.token)}"

    def credentials(self, secrets: Secrets) -> Credentials:
        """The header with the token, read from its reference now."""
        return Credentials({"Authorization": f"{self.scheme} {sendable(self.token, secrets)}"}, {})


@dataclass(frozen=True, slots=True)
class ApiKey(_Unchanging):
    """A key in a header or in the query."""

    key: SecretRef
    name: str
    in_query: bool
    prefix: str

    @property
    def query_parameters(self) -> frozenset[str]:
        """The key's name when the key is sent in the query."""
        return frozenset({self.name}) if self.in_query else frozenset()

    @property
    def advice(self) -> str:
        """Name where the key is kept."""
        return f"check the key in {named(self.key)}"

    def credentials(self, secrets: Secrets) -> Credentials:
        """The key, read from its reference now."""
        value = self.prefix + sendable(self.key, secrets)
        return (
            Credentials({}, {self.name: value})
            if self.in_query
            else Credentials({self.name: value}, {})
        )


@dataclass(frozen=True, slots=True)
class Basic(_Unchanging):
    """`Authorization: Basic <base64 of username:password>`."""

    username: str | SecretRef
    password: SecretRef
    query_parameters: frozenset[str] = frozenset()

    @property
    def advice(self) -> str:
        """Name where the password is kept."""
        return f"check the user name and the password in {named(self.password)}"

    def credentials(self, secrets: Secrets) -> Credentials:
        """The header with user name and password, read now; logs redact the encoded pair."""
        username = (
            self.username if isinstance(self.username, str) else secrets.resolve(self.username)
        )
        pair = f"{username}:{secrets.resolve(self.password)}".encode()
        encoded = base64.b64encode(pair).decode("ascii")
        secrets.remember(encoded)
        return Credentials({"Authorization": f"Basic {encoded}"}, {})


@dataclass(frozen=True, slots=True)
class Several:
    """Several credentials in one request, such as a key of the app and one of the user."""

    parts: tuple[Authenticator, ...]

    @property
    def query_parameters(self) -> frozenset[str]:
        """The names of all parts."""
        return frozenset[str]().union(*(part.query_parameters for part in self.parts))

    @property
    def advice(self) -> str:
        """The advice of all parts."""
        return ", and ".join(part.advice for part in self.parts)

    def credentials(self, secrets: Secrets) -> Credentials:
        """The credentials of all parts together."""
        found = [part.credentials(secrets) for part in self.parts]
        headers, params = dict[str, str](), dict[str, str]()
        for one in found:
            headers |= one.headers
            params |= one.params
        signing = [one.sign for one in found if one.sign is not None]

        def sign(request: UnsignedRequest) -> dict[str, str]:
            made: dict[str, str] = {}
            for each in signing:
                made |= each(request)
            return made

        return Credentials(headers, params, sign if signing else None)

    def renew(self, refused: Credentials) -> bool:
        """Whether any part has other credentials; each part compares its own header."""
        renewed = [part.renew(refused) for part in self.parts]
        return any(renewed)


def named(ref: SecretRef) -> str:
    """A reference to a secret as messages name it."""
    return f"environment variable {ref.env}" if ref.env is not None else f"file {ref.file}"


def sendable(ref: SecretRef, secrets: Secrets) -> str:
    """The secret, if it can be sent in a header. Raises `SecretMissing` otherwise.

    This is checked here because the error of the HTTP library would quote the value.
    """
    value = secrets.resolve(ref)
    if not is_sendable(value):
        raise SecretMissing(
            f"{named(ref)} holds characters that cannot be sent (a line break or non-ASCII); "
            "store the secret alone"
        )
    return value


def is_sendable(value: str) -> bool:
    """Whether a header can have this value: one line of ASCII."""
    return _HEADER_VALUE.fullmatch(value) is not None
