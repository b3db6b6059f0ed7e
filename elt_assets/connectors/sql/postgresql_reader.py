"""PostgreSQL through ADBC: the session, its SQL and error messages.

The server converts each row to JSON. `metered_wire` enforces the limits on the driver's
connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adbc_driver_manager import Error

from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.sql.metered_wire import MeteredWire
from elt_assets.connectors.sql.reader import (
    BESIDES,
    GRACE,
    PAGE_OVERRUN,
    Key,
    Rows,
    Survey,
)
from elt_assets.connectors.sql.select import plain
from elt_assets.connectors.sql.server_address import ServerAddress, connected
from elt_assets.connectors.sql.sql_data import SqlStream
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable
from elt_assets.errors.foreign_text import LONGEST, SHOWN, visible

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

# Types of key columns whose text can be cast back to the same value, with the type of that cast.
# `character` alone would mean character(1), which truncates the value.
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
"""A path that exists on no machine; with an empty one, libpq would use the default path."""
_NO_TICKET = "none,password,md5,scram-sha-256"
_WAITS = "ELT_ASSETS_REQUEST_TIMEOUT to connect, statement_timeout and 10 s for a page"
_TLS = {"verify": "verify-full", "require": "require", "off": "disable"}
# SQLSTATE classes that a retry may cure: lost connection, no resources, server starting or
# stopping, rolled back transaction, wrong state of an object, system error.
_PASSING = ("08", "53", "57", "40", "55", "58")


class PostgresReader:
    """A session that reads one snapshot of the database, so that its pages are consistent."""

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
        self._room = limits.page_bytes + BESIDES
        self._patience = statement_timeout + GRACE
        self._connection: Connection | None = None
        self._wire = MeteredWire(lambda deadline: connected(server, deadline, "PostgreSQL"))
        try:
            with self._held(limits.timeout):
                self._connection = dbapi.connect(
                    _conninfo(server, self._wire.port, limits.timeout), autocommit=True
                )
            self._execute(f"SET statement_timeout = {int(statement_timeout * 1000)}")
            self._execute("SET default_transaction_read_only = on")
            self._execute("SET default_transaction_isolation = 'repeatable read'")
            self._execute("SET TimeZone = 'UTC'")
            with self._held(self._patience):
                self._connection.adbc_connection.set_autocommit(False)
            types = self._fetched(
                f"SELECT pg_typeof(q.{self._key})::text AS type {self._from} LIMIT 1"
            )
            self._type = _key_type(types["type"][0].as_py()) if types.num_rows else "text"
        except BaseException:
            self.close()
            raise

    def survey(self) -> Survey:
        """Count rows, keys and distinct keys, compared as the database compares them."""
        counted = self._fetched(
            f"SELECT count(*) AS a, count(q.{self._key}) AS b,"
            f" count(DISTINCT q.{self._key}) AS c {self._from}"
        )
        rows, with_key, distinct = (counted[name][0].as_py() for name in "abc")
        return Survey(rows, with_key, distinct)

    def rows(self, after: Key | None, limit: int) -> Rows:
        """The next rows after the key `after`, at most `limit`."""
        where = "" if after is None else f"WHERE q.{self._key} > $1::text::{self._type}"
        found = self._fetched(
            f"SELECT row_to_json(q)::text AS record, q.{self._key}::text AS key"
            f" {self._from} {where} ORDER BY q.{self._key} LIMIT {limit:d}",
            () if after is None else (after,),
        )
        if found.num_rows > limit:
            raise ProviderRefused(
                f"PostgreSQL: the server sends {found.num_rows:,} rows, but the query has LIMIT "
                f"{limit:,}; it does not follow the protocol"
            )
        # As bytes: in a Python text, one special character can quadruple the memory.
        records = found["record"].cast("binary").to_pylist()
        return Rows(records, found["key"][-1].as_py() if records else None)

    def close(self) -> None:
        """End the session. It has only read, so there is nothing to commit."""
        try:
            if self._connection is not None:
                self._connection.close()
        finally:
            self._wire.close()

    def _execute(self, statement: str) -> None:
        with self._held(self._patience), self._cursor() as cursor:
            cursor.execute(statement)

    def _fetched(self, query: str, parameters: tuple[Any, ...] = ()) -> Any:
        """The answer as an Arrow table."""
        with self._held(self._patience), self._cursor() as cursor:
            cursor.execute(query, parameters or None)
            return cursor.fetch_arrow_table()

    def _cursor(self) -> Cursor:
        if self._connection is None:
            raise AssertionError("used before it is connected")
        return self._connection.cursor()

    @contextmanager
    def _held(self, seconds: float) -> Iterator[None]:
        """Limit the server to the bytes of one page and to `seconds`."""
        with Deadline(seconds) as deadline, self._wire.hold(self._room, deadline):
            try:
                with _our_errors():
                    yield
            except (ProviderRefused, ProviderUnavailable):
                if self._wire.overrun:
                    raise PageUnreadable(f"PostgreSQL: {PAGE_OVERRUN}") from None
                if deadline.passed:
                    raise ProviderUnavailable(
                        f"PostgreSQL: the server was still answering after {seconds:g} s, the "
                        f"longest time allowed ({_WAITS})"
                    ) from None
                if self._wire.failure is not None:
                    raise self._wire.failure from None
                raise


def _conninfo(server: ServerAddress, port: int, timeout: float) -> str:
    """A connection string that sets every option of libpq.

    libpq would take the options that are left out from PG* variables, a service, a password file,
    a certificate or a Kerberos ticket of the account that runs the platform. `host` is only the
    name that the server's certificate must have; the connection goes to the relay.
    """
    words = {
        "host": server.host,
        "hostaddr": "127.0.0.1",
        "port": str(port),
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
    """The file of certificate authorities that this machine trusts."""
    # The driver contains an OpenSSL of its own, which does not know this machine's path.
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
        said = visible(_said(str(error)[:LONGEST], state), SHOWN)
        if not state and "authentication failed" not in said and "does not exist" not in said:
            raise ProviderUnavailable(f"PostgreSQL: {said}") from None
        if state.startswith(_PASSING):
            raise ProviderUnavailable(f"PostgreSQL: {said} (SQLSTATE {state})") from None
        raise ProviderRefused(
            f"PostgreSQL: {said}" + (f" (SQLSTATE {state})" * bool(state))
        ) from None


def _said(text: str, state: str) -> str:
    if state.startswith("22"):
        # The message of these errors quotes the value, which may be personal data.
        return "the query cannot convert one of the values it meets"
    for mark in ("ERROR:", "FATAL:", "failed: ", "connect: "):
        _, found, rest = text.partition(mark)
        if found:
            return rest.strip().splitlines()[0]
    return "the connection failed"
