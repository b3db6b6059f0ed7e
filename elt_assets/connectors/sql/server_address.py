"""The complete address of a database server and its user, and the connection to it.

Every part is explicit. A driver without a user, password or certificate would take the platform's
own from the environment or the home folder, and send it to a server that a tenant controls.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.sql.sql_data import ServerConnection
from elt_assets.errors import InvalidInput, ProviderUnavailable

Tls = Literal["verify", "require", "off"]

_SCHEMES = {"postgresql": ("postgresql", "postgres"), "mysql": ("mysql", "mariadb")}
_PORTS = {"postgresql": 5432, "mysql": 3306}
_MODES: dict[str, Tls] = {
    "disable": "off",
    "disabled": "off",
    "require": "require",
    "required": "require",
    "verify-full": "verify",
    "verify_identity": "verify",
}
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server by its name and the addresses resolved from it, and the account there."""

    host: str
    addresses: tuple[str, ...]
    port: int
    database: str
    user: str
    password: str
    tls: Tls
    tls_ca: str | None


def server_address(
    connection: ServerConnection, *, secrets: Secrets, limits: FetchLimits
) -> ServerAddress:
    """The complete address; the name is resolved once, so only checked addresses are connected to.

    Raises `InvalidInput` for an incomplete URI, `PermanentError` for a database of the platform
    or an address that is closed to the organization, and `ProviderUnavailable` for a name
    without address.
    """
    tls = connection.tls
    if connection.uri is not None:
        parts = _uri(secrets.resolve(connection.uri), connection.type)
        password = unquote(parts.password or "")
        secrets.remember(password)
        host, port = parts.hostname or "", parts.port
        user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
        if "tls" not in connection.model_fields_set:
            tls = _tls(parts.query)
    else:
        host, port = str(connection.host), connection.port
        user, database = str(connection.user), str(connection.database)
        password = secrets.resolve(connection.password) if connection.password else ""
    port = port or _PORTS[connection.type]
    host = host.removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(host):
        raise InvalidInput(
            "connection.host is not one name or address of a server (a socket of this machine "
            "and a list of hosts are not taken)"
        )
    try:
        with Deadline(limits.timeout) as deadline:
            found = limits.outgoing.addresses(unquote(host), port, deadline)
    except (OSError, UnicodeError) as error:
        raise ProviderUnavailable(f"{host} cannot be resolved: {error}") from None
    addresses = tuple(dict.fromkeys(address for _, address in found))
    if limits.own is not None:
        limits.own.refuse_database(addresses, port, database)
    return ServerAddress(
        host,
        tuple(dict.fromkeys(addresses)),
        port,
        database,
        user,
        password,
        tls,
        connection.tls_ca,
    )


def connected(server: ServerAddress, deadline: Deadline, kind: str) -> socket.socket:
    """Connect to one of the checked addresses, without resolving the name again.

    The deadline is for all addresses together: a tenant's name may have a hundred.
    """
    failure = OSError("no address")
    for address in server.addresses:
        try:
            if not deadline.left:
                break
            made = socket.create_connection((address, server.port), max(0.001, deadline.left))
        except OSError as error:
            failure = error
            continue
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    raise ProviderUnavailable(f"{kind}: {server.host} cannot be reached ({failure})")


def _uri(text: str, kind: str) -> SplitResult:
    # No error quotes the URI: it holds the password.
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in _SCHEMES[kind]:
        raise InvalidInput(f"connection.uri does not lead to a {kind}:// URI")
    if not (parts.hostname and parts.username and parts.path.strip("/")):
        raise InvalidInput(
            "connection.uri is incomplete; write "
            f"{kind}://user:password@host:{_PORTS[kind]}/database"
        )
    return parts


def _tls(query: str) -> Tls:
    tls: Tls = "verify"
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ("sslmode", "ssl-mode"):
            raise InvalidInput(
                f"connection.uri has the option {name!r}, which is not taken; of options only "
                "sslmode is"
            )
        if value.lower() not in _MODES:
            raise InvalidInput(
                f"connection.uri has sslmode={value}, which may send everything in clear; write "
                "verify-full, require or disable"
            )
        tls = _MODES[value.lower()]
    return tls
