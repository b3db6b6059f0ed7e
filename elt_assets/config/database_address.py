"""The address of a PostgreSQL database. It never holds the password, which is added to connect."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.errors import InvalidInput

_APPLICATION = "elt_assets"


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """`postgresql://user@host:port/database?options`, and where its password is kept.

    Without one, libpq looks where it always does: PGPASSWORD, ~/.pgpass, a certificate.
    """

    url: str
    password: SecretRef | None = None

    @classmethod
    def parse(
        cls,
        url: str,
        password: SecretRef | None = None,
        *,
        password_setting: str = "ELT_ASSETS_OPERATIONAL_PASSWORD",  # noqa: S107
    ) -> DatabaseAddress:
        """Check `url`. Raises `InvalidInput`, which never quotes what might be a password.

        It names the setting in which to say where the password is kept.
        """
        parts = _split(url)
        if parts.scheme not in ("postgresql", "postgres"):
            raise InvalidInput("not a database address: write postgresql://user@host:5432/database")
        if parts.password is not None or "password=" in parts.query:
            raise InvalidInput(
                "a password does not belong in the address: name where it is kept in "
                f"{password_setting}, as env:NAME or file:PATH"
            )
        if not parts.path.strip("/"):
            raise InvalidInput("the address names no database: postgresql://user@host/database")
        return cls(url, password)

    def complete(self, secrets: Secrets) -> str:
        """What libpq is given. Raises `SecretMissing`; `secrets` can redact the password then."""
        parts = _split(self.url)
        place = parts.netloc
        if self.password is not None:
            user, at, host = place.rpartition("@")
            place = f"{user}:{quote(secrets.resolve(self.password), safe='')}{at or '@'}{host}"
        words = [part for part in (parts.query,) if part]
        if "application_name=" not in parts.query:
            words.append(f"application_name={_APPLICATION}")
        if "connect_timeout=" not in parts.query:
            words.append("connect_timeout=10")
        return parts._replace(netloc=place, query="&".join(words)).geturl()

    def places(self) -> list[tuple[str, int, str]]:
        """Every host, port and database that it leads to; a host of "" is a socket."""
        parts = _split(self.url)
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

    def __str__(self) -> str:
        """The address without its options, for people."""
        return _split(self.url)._replace(query="", fragment="").geturl()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # Asked for here, because a port that is none is noticed only then.
        _ = parts.port
    except ValueError:
        raise InvalidInput(
            "not a database address: write postgresql://user@host:5432/database"
        ) from None
    return parts
