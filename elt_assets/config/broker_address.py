"""The address of the workers' Redis. It never holds the password, which is added to connect."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, quote, urlencode, urlsplit

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.errors import InvalidInput

_EXPECTED = "not the address of a Redis: write redis://host:6379/0, or rediss://… for TLS"
_CERTIFICATES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHECKED = {"ssl_cert_reqs": "required"}
"""Said to both clients of Redis: the one inside Celery checks no certificate by itself."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """`redis://user@host:port/number` or `rediss://…`, and where its password is kept.

    With `?ssl_ca_certs=PATH` the server's certificate may be one of your own authority, with
    `ssl_certfile` and `ssl_keyfile` the client has one as well.
    """

    url: str
    password: SecretRef | None = None

    @classmethod
    def parse(
        cls,
        url: str,
        password: SecretRef | None = None,
        *,
        password_setting: str = "ELT_ASSETS_BROKER_PASSWORD",  # noqa: S107
    ) -> BrokerAddress:
        """Check `url`. Raises `InvalidInput`, which never quotes what might be a password."""
        parts = _split(url)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise InvalidInput(_EXPECTED)
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise InvalidInput(
                "a password does not belong in the address: name where it is kept in "
                f"{password_setting}, as env:NAME or file:PATH"
            )
        _check_options(parts)
        number = parts.path.strip("/")
        if number and not number.isdigit():
            raise InvalidInput("the database of a Redis is a number: redis://host:6379/0")
        return cls(url, password)

    def complete(self, secrets: Secrets) -> str:
        """What the client is given. Raises `SecretMissing`; `secrets` can redact it then."""
        parts = _split(self.url)
        if parts.scheme == "rediss":
            options = {name: values[0] for name, values in parse_qs(parts.query).items()}
            parts = parts._replace(query=urlencode(options | _CHECKED, safe="/"))
        if self.password is not None:
            user, _, host = parts.netloc.rpartition("@")
            place = f"{user}:{quote(secrets.resolve(self.password), safe='')}@{host}"
            parts = parts._replace(netloc=place)
        return parts.geturl()

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read what is said: TLS, or the same machine."""
        parts = _split(self.url)
        return parts.scheme == "rediss" or parts.hostname in _LOOPBACK

    def __str__(self) -> str:
        """The address without its options, for people."""
        return _split(self.url)._replace(query="", fragment="").geturl()


def _check_options(parts: SplitResult) -> None:
    for name, values in parse_qs(parts.query, keep_blank_values=True).items():
        known = name in _CERTIFICATES or values == [_CHECKED.get(name)]
        if parts.scheme != "rediss" or not known:
            raise InvalidInput(
                "an option does not belong in the address: with rediss:// it may have "
                f"{', '.join(_CERTIFICATES)}, and certificates are always checked"
            )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # Asked for here, because a port that is none is noticed only then.
        _ = parts.port
    except ValueError:
        raise InvalidInput(_EXPECTED) from None
    return parts
