"""PostgreSQL through ADBC: the server writes the JSON, whole rows at a time.

Belongs here: the session, its SQL, and PostgreSQL's errors in our words. Does not: paging
(sql_source).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adbc_driver_manager import Error

from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.sql.reader import Key, Rows, Survey
from elt_assets.connectors.sql.select import plain
from elt_assets.connectors.sql.server import ServerAddress
from elt_assets.connectors.sql.sql_data import SqlStream
from elt_assets.errors import ProviderRefused, ProviderUnavailable
from elt_assets.foreign_text import SHOWN, visible

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

# Types whose text gives back the same value and the same order; a cast to character(1), as
# `character` means, would cut the value.
_KEY_TYPES = {
    "character": "bpchar",
    **{
        name: name
        for name in (
            "smallint",
            "integer",
            "bigint",
            "numeric",
            "text",
            "character varying",
            "citext",
            "uuid",
            "date",
            "timestamp without time zone",
            "timestamp with time zone",
        )
    },
}
_USUAL_PLACES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_NO_FILE = "/dev/null/none"
"""A path that leads nowhere on any machine; an empty one would mean the usual place."""
_NO_TICKET = "none,password,md5,scram-sha-256"
_TLS = {"verify": "verify-full", "require": "require", "off": "disable"}
# Connection lost, server starting or stopping, no resources, cancelled by the timeout.
_PASSING = ("08", "53", "57", "40", "55", "58")


class PostgresReader:
    """One snapshot of the database, so that all pages of a reading agree."""

    def __init__(
        self,
        stream: SqlStream,
        *,
        server: ServerAddress,
        limits: FetchLimits,
        statement_timeout: float,
    ) -> None:
        # Imported when a session begins: the driver is a large library.
        from adbc_driver_postgresql import dbapi

        self._key = '"' + stream.key.replace('"', '""') + '"'
        self._from = f"FROM (\n{plain(stream.query)}\n) AS q"
        with _our_errors():
            self._connection: Connection = dbapi.connect(
                _conninfo(server, limits.timeout), autocommit=True
            )
        try:
            self._execute(f"SET statement_timeout = {int(statement_timeout * 1000)}")
            self._execute("SET default_transaction_read_only = on")
            self._execute("SET default_transaction_isolation = 'repeatable read'")
            self._execute("SET TimeZone = 'UTC'")
            with _our_errors():
                self._connection.adbc_connection.set_autocommit(False)
            types = self._fetched(
                f"SELECT pg_typeof(q.{self._key})::text AS type {self._from} LIMIT 1"
            )["type"]
            self._type = _key_type(types[0]) if types else "text"
        except BaseException:
            self.close()
            raise

    def survey(self) -> Survey:
        """Count rows, keys and different keys, by the database's own idea of equal."""
        counted = self._fetched(
            f"SELECT count(*) AS a, count(q.{self._key}) AS b,"
            f" count(DISTINCT q.{self._key}) AS c {self._from}"
        )
        return Survey(counted["a"][0], counted["b"][0], counted["c"][0])

    def rows(self, after: Key | None, limit: int) -> Rows:
        """The next rows behind `after`."""
        where = "" if after is None else f"WHERE q.{self._key} > $1::text::{self._type}"
        found = self._fetched(
            f"SELECT row_to_json(q)::text AS record, q.{self._key}::text AS key"
            f" {self._from} {where} ORDER BY q.{self._key} LIMIT {limit:d}",
            () if after is None else (after,),
        )
        records = [record.encode() for record in found["record"]]
        return Rows(records, found["key"][-1] if records else None)

    def close(self) -> None:
        """End the session; whatever it was about was only read."""
        self._connection.close()

    def _execute(self, statement: str) -> None:
        with _our_errors(), self._connection.cursor() as cursor:
            cursor.execute(statement)

    def _fetched(self, query: str, parameters: tuple[Any, ...] = ()) -> dict[str, list[Any]]:
        with _our_errors(), self._connection.cursor() as cursor:
            cursor.execute(query, parameters or None)
            found: dict[str, list[Any]] = cursor.fetch_arrow_table().to_pydict()
            return found


def _conninfo(server: ServerAddress, timeout: float) -> str:
    """All of libpq's options that it would take from elsewhere: from PG* variables, a service, a
    password file, a certificate or a ticket of the account that runs the platform."""
    words = {
        "host": server.host,
        "hostaddr": server.addresses[0],
        "port": str(server.port),
        "dbname": server.database,
        "user": server.user,
        "password": server.password,
        "passfile": _NO_FILE,
        "require_auth": _NO_TICKET,
        "channel_binding": "prefer",
        "sslmode": _TLS[server.tls],
        "sslnegotiation": "postgres",
        "sslrootcert": _NO_FILE,
        "sslcertmode": "disable",
        "sslcert": _NO_FILE,
        "sslkey": _NO_FILE,
        "sslcrl": _NO_FILE,
        "sslcrldir": "",
        "sslpassword": "",
        "sslkeylogfile": "",
        "ssl_min_protocol_version": "TLSv1.2",
        "ssl_max_protocol_version": "",
        "gssencmode": "disable",
        "krbsrvname": "postgres",
        "gssdelegation": "0",
        "requirepeer": "",
        "options": "",
        "replication": "false",
        "target_session_attrs": "any",
        "load_balance_hosts": "disable",
        "client_encoding": "UTF8",
        "connect_timeout": str(max(2, int(timeout))),
        "application_name": "elt_assets",
    }
    if server.tls == "verify":
        words["sslrootcert"] = server.tls_ca or _authorities()
    return " ".join(f"{name}={_literal(value)}" for name, value in words.items())


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _authorities() -> str:
    """The file of authorities that this machine trusts, wherever its makers put it."""
    # The driver brings an OpenSSL of its own, which does not know where the machine's is.
    known = (ssl.get_default_verify_paths().cafile, *_USUAL_PLACES)
    return next((place for place in known if place and Path(place).is_file()), "system")


def _key_type(name: str) -> str:
    if name not in _KEY_TYPES:
        raise ProviderRefused(
            f"the key column is of type {name}; it must be a whole or exact number, text, "
            "uuid, date or timestamp: cast it in the query"
        )
    return _KEY_TYPES[name]


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except Error as error:
        state = error.sqlstate or ""
        if state == "57014":
            raise ProviderUnavailable(
                "the query took longer than statement_timeout; an index on the key helps"
            ) from None
        said = visible(_said(str(error), state), SHOWN)
        if not state and "authentication failed" not in said and "does not exist" not in said:
            raise ProviderUnavailable(f"PostgreSQL: {said}") from None
        if state.startswith(_PASSING):
            raise ProviderUnavailable(f"PostgreSQL: {said} (SQLSTATE {state})") from None
        raise ProviderRefused(
            f"PostgreSQL: {said}" + (f" (SQLSTATE {state})" * bool(state))
        ) from None


def _said(text: str, state: str) -> str:
    if state.startswith("22"):
        # These quote the value that is wrong, and values are somebody's data.
        return "the query cannot convert one of the values it meets"
    for mark in ("ERROR:", "FATAL:", "failed: ", "connect: "):
        _, found, rest = text.partition(mark)
        if found:
            return rest.strip().splitlines()[0]
    return "the connection failed"
