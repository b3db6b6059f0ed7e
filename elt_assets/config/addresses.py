"""Addresses of servers: PostgreSQL, and the workers' Redis.

An address never contains the password, which is kept elsewhere and added for connecting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self
from urllib.parse import SplitResult, parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.errors import InvalidInput

_APPLICATION = "elt_assets"
_CERTIFICATES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHECKED = {"ssl_cert_reqs": "required"}
"""Options for both Redis clients: the one inside Celery checks no certificate by default."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL without a password, and a reference to the password."""

    url: str
    password: SecretRef | None = None

    schemes: ClassVar[tuple[str, ...]] = ()
    expected: ClassVar[str] = ""

    @classmethod
    def parse(
        cls,
        url: str,
        password: SecretRef | None = None,
        *,
        password_setting: str = "the setting of its password",  # noqa: S107
    ) -> Self:
        """Check `url`. Raises `InvalidInput`, which never quotes what might be a password.

        `password_setting` is the setting that the error names as the place for the password.
        """
        parts = cls._split(url)
        if parts.scheme not in cls.schemes:
            raise InvalidInput(cls.expected)
        if parts.password is not None or "password=" in parts.query:
            raise InvalidInput(
                "a password does not belong in the address: name where it is kept in "
                f"{password_setting}, as env:NAME or file:PATH"
            )
        cls._check(parts)
        return cls(url, password)

    @classmethod
    def configured(cls, url: str | None, password: SecretRef | None) -> Self | None:
        """The address from the settings of a URL and its password; None if the URL is unset."""
        return None if url is None else cls.parse(url, password)

    def complete(self, secrets: Secrets) -> str:
        """The URL for the client, with the password. Raises `SecretMissing`.

        Afterwards `secrets` redacts the password.
        """
        parts = self._with_options(self._split(self.url))
        if self.password is not None:
            user, _, host = parts.netloc.rpartition("@")
            password = quote(secrets.resolve(self.password), safe="")
            parts = parts._replace(netloc=f"{user}:{password}@{host}")
        return parts.geturl()

    def __str__(self) -> str:
        """The address without its options, for messages."""
        return self._split(self.url)._replace(query="", fragment="").geturl()

    @classmethod
    def _split(cls, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            _ = parts.port  # an invalid port is reported only when it is read
        except ValueError:
            raise InvalidInput(cls.expected) from None
        return parts

    @classmethod
    def _check(cls, parts: SplitResult) -> None:
        """Check the rest of the address. Raises `InvalidInput`."""

    def _with_options(self, parts: SplitResult) -> SplitResult:
        return parts


@dataclass(frozen=True, slots=True)
class DatabaseAddress(Address):
    """`postgresql://user@host:port/database?options`.

    Without a password, libpq looks in PGPASSWORD, ~/.pgpass or for a certificate.
    """

    schemes = ("postgresql", "postgres")
    expected = "not a database address: write postgresql://user@host:5432/database"

    @classmethod
    def _check(cls, parts: SplitResult) -> None:
        if not parts.path.strip("/"):
            raise InvalidInput("the address names no database: postgresql://user@host/database")

    def _with_options(self, parts: SplitResult) -> SplitResult:
        options = [parts.query] if parts.query else []
        if "application_name=" not in parts.query:
            options.append(f"application_name={_APPLICATION}")
        if "connect_timeout=" not in parts.query:
            options.append("connect_timeout=10")
        return parts._replace(query="&".join(options))

    def places(self) -> list[tuple[str, int, str]]:
        """Every host, port and database that the address names; a host of "" is a socket."""
        parts = self._split(self.url)
        options = dict(parse_qsl(parts.query))
        database = options.get("dbname") or unquote(parts.path.strip("/"))
        named = [each.rpartition(":") for each in parts.netloc.rpartition("@")[2].split(",")]
        found = [
            (host.strip("[]"), port) if colon and port.isdigit() else (f"{host}{colon}{port}", "")
            for host, colon, port in named
        ]
        for option in ("host", "hostaddr"):
            found += [(host, "") for host in options.get(option, "").split(",") if host]
        return [
            (unquote(host).strip("[]"), int(port or options.get("port") or 5432), database)
            for host, port in found
        ]


@dataclass(frozen=True, slots=True)
class BrokerAddress(Address):
    """`redis://user@host:port/number`, or `rediss://…` for TLS.

    `?ssl_ca_certs=PATH` names your own certificate authority; `ssl_certfile` and `ssl_keyfile`
    name the client's certificate.
    """

    schemes = ("redis", "rediss")
    expected = "not the address of a Redis: write redis://host:6379/0, or rediss://… for TLS"

    @classmethod
    def _check(cls, parts: SplitResult) -> None:
        if not parts.hostname:
            raise InvalidInput(cls.expected)
        for name, values in parse_qs(parts.query, keep_blank_values=True).items():
            known = name in _CERTIFICATES or values == [_CHECKED.get(name)]
            if parts.scheme != "rediss" or not known:
                raise InvalidInput(
                    "an option does not belong in the address: rediss:// may have "
                    f"{', '.join(_CERTIFICATES)}, and certificates are always checked"
                )
        number = parts.path.strip("/")
        if number and not number.isdigit():
            raise InvalidInput("the database of a Redis is a number: redis://host:6379/0")

    def _with_options(self, parts: SplitResult) -> SplitResult:
        if parts.scheme != "rediss":
            return parts
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return parts._replace(query=urlencode(options | _CHECKED, safe="/"))

    @property
    def is_private(self) -> bool:
        """Whether the network cannot read the traffic: it uses TLS or stays on this machine."""
        parts = self._split(self.url)
        return parts.scheme == "rediss" or parts.hostname in _LOOPBACK
