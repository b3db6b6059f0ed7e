"""MySQL and MariaDB through PyMySQL.

Belongs here: the session, its SQL, rows as JSON, and the servers' errors in our words.
Does not: paging (sql_source).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import msgspec
import pymysql
from pymysql.connections import Connection
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions

from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.sql.reader import Key, Rows, Survey
from elt_assets.connectors.sql.select import plain
from elt_assets.connectors.sql.server import ServerAddress
from elt_assets.connectors.sql.sql_data import SqlStream
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable
from elt_assets.foreign_text import SHOWN, visible

_encode = msgspec.json.Encoder(enc_hook=str).encode

_CONVERSIONS: dict[Any, Any] = {
    **conversions,
    # A flag, where it is one bit wide.
    FIELD_TYPE.BIT: lambda value: int.from_bytes(value, "big"),
}
_TIMEOUTS = frozenset({1969, 3024})
_REFUSALS = (
    frozenset({1044, 1045, 1049, 1142, 1143, 1698, 1792, 3118, 4151})  # rights, names of databases
    | frozenset({1052, 1054, 1060, 1064, 1146, 1305, 1356})  # the query itself
)
_VALUES = frozenset({1264, 1292, 1365, 1366, 1367, 1411, 1690, 3140, 3141})


_BESIDES = 1 << 20
"""Bytes of an answer besides its rows: names of columns, and the rows' framing."""


class MysqlReader:
    """One snapshot of the database, so that all pages of a reading agree."""

    def __init__(
        self,
        stream: SqlStream,
        *,
        server: ServerAddress,
        limits: FetchLimits,
        statement_timeout: float,
    ) -> None:
        self._limits = limits
        # A server that ends a statement by itself has ended it by then.
        self._patience = statement_timeout + 10
        # The driver puts parameters in the place of %s, and reads %% as %.
        self._from = f"FROM (\n{plain(stream.query)}\n) AS q".replace("%", "%%")
        self._key = ("q.`" + stream.key.replace("`", "``") + "`").replace("%", "%%")
        with _our_errors():
            self._connection: Any = _Bounded(
                **_options(server),
                charset="utf8mb4",
                conv=_CONVERSIONS,
                read_timeout=int(statement_timeout) + 10,
                defer_connect=True,
            )
            with Deadline(limits.timeout) as deadline:
                one = _socket(server, max(1.0, limits.timeout))
                deadline.watch(one)
                self._connection.connect(one)
        try:
            ((version,),), _ = self._fetched("SELECT version()")
            maria = "mariadb" in version.lower()
            limit = (
                f"max_statement_time = {statement_timeout}"
                if maria
                else f"max_execution_time = {int(statement_timeout * 1000)}"
            )
            self._fetched(f"SET SESSION {limit}, time_zone = '+00:00'")
            self._fetched("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self._fetched("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        except BaseException:
            self.close()
            raise

    def survey(self) -> Survey:
        """Count rows, keys and different keys, by the column's own idea of equal."""
        ((rows, with_key, distinct),), _ = self._fetched(
            f"SELECT count(*), count({self._key}), count(DISTINCT {self._key}) {self._from}"
        )
        return Survey(rows, with_key, distinct)

    def rows(self, after: Key | None, limit: int) -> Rows:
        """The next rows behind `after`."""
        where = "" if after is None else f"WHERE {self._key} > %s"
        found, columns = self._fetched(
            f"SELECT q.*, {self._key} {self._from} {where} ORDER BY {self._key} LIMIT {limit:d}",
            () if after is None else (_bound(after),),
        )
        names = [column[0] for column in columns[:-1]]
        jsons = {at for at, column in enumerate(columns[:-1]) if column[1] == FIELD_TYPE.JSON}
        records = [
            _encode(
                {
                    name: msgspec.Raw(value.encode()) if at in jsons and value else value
                    for at, (name, value) in enumerate(zip(names, row, strict=False))
                }
            )
            for row in found
        ]
        return Rows(records, _kept(found[-1][-1]) if found else None)

    def close(self) -> None:
        """End the session."""
        if self._connection.open:
            with _our_errors():
                self._connection.close()

    def _fetched(self, query: str, bound: tuple[object, ...] = ()) -> tuple[Any, Any]:
        self._connection.room = self._limits.page_bytes + _BESIDES
        with Deadline(self._patience) as deadline:
            deadline.watch(self._connection.socket)
            try:
                with _our_errors(), self._connection.cursor() as cursor:
                    cursor.execute(query, bound)
                    return cursor.fetchall(), cursor.description
            except ProviderUnavailable:
                if not deadline.passed:
                    raise
                raise ProviderUnavailable(
                    f"MySQL: the server was still answering after {self._patience:g} s"
                ) from None


class _Bounded(Connection):
    """A connection that reads so many bytes and no more, however large a row says that it is."""

    room = 1 << 20

    @property
    def socket(self) -> socket.socket:
        """What it reads from."""
        return self._sock  # type: ignore[attr-defined, no-any-return]

    def _read_bytes(self, num_bytes: int) -> bytes:
        self.room -= num_bytes
        if self.room < 0:
            self._force_close()  # type: ignore[attr-defined]
            raise PageUnreadable(
                "the server sends more bytes for one page of rows than ELT_ASSETS_PAGE_BYTES "
                "allows; lower page_size, or leave large columns out"
            )
        return super()._read_bytes(num_bytes)  # type: ignore[misc, no-any-return]


def _options(server: ServerAddress) -> dict[str, Any]:
    found: dict[str, Any] = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "database": server.database,
        # No option file is read, and no local file is sent when the server asks for one.
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


def _socket(server: ServerAddress, timeout: float) -> socket.socket:
    """A connection to the addresses that were checked, not to what the name means by now."""
    failure = OSError("no address")
    for address in server.addresses:
        try:
            made = socket.create_connection((address, server.port), timeout)
        except OSError as error:
            failure = error
            continue
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    raise ProviderUnavailable(f"MySQL: {server.host} cannot be reached ({failure})")


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
def _our_errors() -> Iterator[None]:
    try:
        yield
    except (pymysql.Error, OSError) as error:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if code in _TIMEOUTS:
            raise ProviderUnavailable(
                "the query took longer than statement_timeout; an index on the key helps"
            ) from None
        if code in _VALUES:
            # These quote the value that is wrong, and values are somebody's data.
            raise ProviderRefused(
                f"the query cannot convert one of the values it meets (error {code})"
            ) from None
        said = str(error.args[1]) if len(error.args) > 1 else type(error).__name__
        kind = ProviderRefused if code in _REFUSALS else ProviderUnavailable
        line = visible(said.splitlines()[0], SHOWN) if said else "no answer"
        raise kind(f"MySQL: {line} (error {code})") from None
