"""MySQL and MariaDB through PyMySQL: the session, its SQL, rows as JSON, and error messages."""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import msgspec
import pymysql
from pymysql.connections import Connection
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions
from pymysql.cursors import SSCursor
from pymysql.protocol import MysqlPacket

from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.sql.reader import (
    BESIDES,
    GRACE,
    PAGE_OVERRUN,
    ROW_OVERRUN,
    Key,
    Rows,
    Survey,
)
from elt_assets.connectors.sql.select import plain
from elt_assets.connectors.sql.server_address import ServerAddress, connected
from elt_assets.connectors.sql.sql_data import SqlStream
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable
from elt_assets.errors.foreign_text import SHOWN, visible

_encode = msgspec.json.Encoder(enc_hook=str).encode

_CONVERSIONS: dict[Any, Any] = {
    **conversions,
    # A BIT column as a number; one bit wide, it is a flag.
    FIELD_TYPE.BIT: lambda value: int.from_bytes(value, "big"),
}
_TIMEOUTS = frozenset({1969, 3024})
_REFUSALS = (
    frozenset({1044, 1045, 1049, 1142, 1143, 1698, 1792, 3118, 4151})  # rights, names of databases
    | frozenset({1052, 1054, 1060, 1064, 1146, 1305, 1356})  # the query itself
)
_VALUES = frozenset({1264, 1292, 1365, 1366, 1367, 1411, 1690, 3140, 3141})


class _NotTheProtocol(Exception):
    """The server's answer does not fit the request."""


# The exceptions that the driver raises for packets that break the protocol.
_BROKEN = (
    *(AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    *(struct.error, _NotTheProtocol),
)


class MysqlReader:
    """A session that reads one snapshot of the database, so that its pages are consistent."""

    def __init__(
        self,
        stream: SqlStream,
        *,
        server: ServerAddress,
        limits: FetchLimits,
        statement_timeout: float,
    ) -> None:
        self._limits = limits
        self._patience = statement_timeout + GRACE
        # The driver replaces %s by parameters, and %% by %.
        self._from = f"FROM (\n{plain(stream.query)}\n) AS q".replace("%", "%%")
        self._key = ("q.`" + stream.key.replace("`", "``") + "`").replace("%", "%%")
        with _our_errors():
            self._connection: Any = _Bounded(
                **_options(server),
                charset="utf8mb4",
                conv=_CONVERSIONS,
                read_timeout=self._patience,
                defer_connect=True,
            )
            self._connection.row_bytes = limits.record_bytes + BESIDES
            with Deadline(limits.timeout) as deadline:
                one = connected(server, deadline, "MySQL")
                deadline.watch(one)
                self._connection.connect(one)
        try:
            version = str(self._one_row("SELECT version()")[0])
            maria = "mariadb" in version.lower()
            limit = (
                f"max_statement_time = {statement_timeout}"
                if maria
                else f"max_execution_time = {int(statement_timeout * 1000)}"
            )
            self._execute(f"SET SESSION {limit}, time_zone = '+00:00'")
            self._execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self._execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        except BaseException:
            self.close()
            raise

    def survey(self) -> Survey:
        """Count rows, keys and distinct keys, compared by the column's collation."""
        rows, with_key, distinct = self._one_row(
            f"SELECT count(*), count({self._key}), count(DISTINCT {self._key}) {self._from}"
        )
        return Survey(rows, with_key, distinct)

    def rows(self, after: Key | None, limit: int) -> Rows:
        """The next rows after the key `after`, at most `limit`."""
        where = "" if after is None else f"WHERE {self._key} > %s"
        query = f"SELECT q.*, {self._key} {self._from} {where} ORDER BY {self._key} LIMIT {limit:d}"
        records: list[bytes] = []
        last: object = None
        with self._answer(query, () if after is None else (_bound(after),)) as cursor:
            columns = cursor.description or ()
            names = [column[0] for column in columns[:-1]]
            jsons = {at for at, column in enumerate(columns[:-1]) if column[1] == FIELD_TYPE.JSON}
            # Encoded row by row: as Python objects, values take many times the memory of JSON.
            for row in cursor:
                if len(records) == limit:
                    raise _NotTheProtocol
                record = {
                    name: msgspec.Raw(value.encode()) if at in jsons and value else value
                    for at, (name, value) in enumerate(zip(names, row, strict=False))
                }
                records.append(_encode(record))
                last = row[-1]
        return Rows(records, _kept(last) if records else None)

    def close(self) -> None:
        if self._connection.open:
            with _our_errors():
                self._connection.close()

    def _execute(self, statement: str) -> None:
        with self._answer(statement):
            pass

    def _one_row(self, query: str) -> tuple[Any, ...]:
        with self._answer(query) as cursor:
            rows = [*itertools.islice(cursor, 2)]
            if len(rows) != 1:
                raise _NotTheProtocol
            return tuple(rows[0])

    @contextmanager
    def _answer(self, query: str, bound: tuple[object, ...] = ()) -> Iterator[Any]:
        """The answer to a query, row by row; if it is not read to its end, the session ends."""
        connection = self._connection
        with Deadline(self._patience) as deadline, _our_errors(deadline):
            deadline.watch(connection.socket)
            cursor = connection.cursor(SSCursor)
            try:
                connection.room = BESIDES
                cursor.execute(query, bound)
                connection.room = self._limits.page_bytes + BESIDES
                yield cursor
                cursor.close()
            except BaseException:
                connection.abandon(cursor)
                raise


class _Bounded(Connection):
    """A connection that limits the bytes it reads, whatever size a row states."""

    room = BESIDES
    """Bytes that the server may still send."""
    row_bytes = BESIDES
    """Most bytes of a packet; a row is the largest packet."""
    _row_room = 0

    @property
    def socket(self) -> socket.socket:
        return self._sock  # type: ignore[attr-defined, no-any-return]

    def abandon(self, cursor: Any) -> None:
        """End the session in the middle of an answer, without reading the rest of it."""
        if cursor._result is not None:
            cursor._result.unbuffered_active = False
        cursor.connection = None
        self._force_close()  # type: ignore[attr-defined]

    def _read_packet(self, packet_type: type[MysqlPacket] = MysqlPacket) -> MysqlPacket:
        self._row_room = self.row_bytes
        return super()._read_packet(packet_type)  # type: ignore[no-any-return, no-untyped-call]

    def _read_bytes(self, num_bytes: int) -> bytes:
        self.room -= num_bytes
        self._row_room -= num_bytes
        if self.room < 0:
            raise PageUnreadable(f"MySQL: {PAGE_OVERRUN}")
        if self._row_room < 0:
            raise PageUnreadable(f"MySQL: {ROW_OVERRUN}")
        return super()._read_bytes(num_bytes)  # type: ignore[misc, no-any-return]


def _options(server: ServerAddress) -> dict[str, Any]:
    found: dict[str, Any] = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "database": server.database,
        # The driver reads no option file, and sends no local file when the server requests one.
        "read_default_file": None,
        "local_infile": False,
    }
    if server.tls == "off":
        return {**found, "ssl_disabled": True}
    context = ssl.create_default_context(cafile=server.tls_ca)
    if server.tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return {**found, "ssl": context}


def _kept(key: object) -> Key:
    match key:
        case bool():
            pass
        case int() | str():
            return key
        case datetime():
            return {"time": key.isoformat(sep=" ")}
        case date():
            return {"time": key.isoformat()}
        case bytes():
            return {"hex": key.hex()}
    raise ProviderRefused(
        "the key column must be a whole number, text, date, time or binary; cast it in the query"
    )


def _bound(key: Key) -> object:
    match key:
        case {"hex": digits}:
            return bytes.fromhex(digits)
        case {"time": text}:
            return text
    return key


@contextmanager
def _our_errors(deadline: Deadline | None = None) -> Iterator[None]:
    try:
        yield
    except (pymysql.Error, OSError) as error:
        if deadline is not None and deadline.passed:
            raise ProviderUnavailable(
                f"MySQL: the server was still answering after {deadline.seconds:g} s, the longest "
                "time allowed (statement_timeout and 10 s)"
            ) from None
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if code in _TIMEOUTS:
            raise ProviderUnavailable(
                "the query took longer than statement_timeout; an index on the key helps"
            ) from None
        if code in _VALUES:
            # The message of these errors quotes the value, which may be personal data.
            raise ProviderRefused(
                f"the query cannot convert one of the values it meets (error {code})"
            ) from None
        said = str(error.args[1]) if len(error.args) > 1 else type(error).__name__
        kind = ProviderRefused if code in _REFUSALS else ProviderUnavailable
        line = visible(said.splitlines()[0], SHOWN) if said else "no answer"
        raise kind(f"MySQL: {line} (error {code})") from None
    except _BROKEN as error:
        raise ProviderUnavailable(
            f"MySQL: the server's answer does not follow the protocol ({type(error).__name__})"
        ) from None
