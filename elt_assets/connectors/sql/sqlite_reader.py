"""SQLite through ADBC: the session, its SQL and error messages.

The platform's own database files are refused.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import msgspec
from adbc_driver_manager import Error

from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.sql.reader import BESIDES, PAGE_OVERRUN, Key, Rows, Survey
from elt_assets.connectors.sql.select import plain
from elt_assets.connectors.sql.sql_data import FileConnection, SqlStream
from elt_assets.errors import PageUnreadable, PermanentError, ProviderRefused, ProviderUnavailable
from elt_assets.errors.foreign_text import SHOWN, visible


class SqliteReader:
    """A session in its own process: a query can only be interrupted by ending its process."""

    def __init__(
        self,
        connection: FileConnection,
        stream: SqlStream,
        *,
        limits: FetchLimits,
        statement_timeout: float,
    ) -> None:
        path = Path(connection.path)
        if limits.own is not None:
            limits.own.refuse_file(path)
        if not path.is_file():
            raise PermanentError(f"{path} is not there; correct connection.path")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Without the platform's environment variables: the query is a tenant's.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **_ONE_HEAP},
        )
        self._room = limits.page_bytes + BESIDES
        described = (str(path), stream.query, stream.key, limits.timeout)
        try:
            self._asked("open", *described, self._room, statement_timeout)
        except BaseException:
            self.close()
            raise

    def survey(self) -> Survey:
        """Count rows, keys and distinct keys."""
        return Survey(*self._asked("survey"))

    def rows(self, after: Key | None, limit: int) -> Rows:
        """The next rows after the key `after`, at most `limit`."""
        return Rows(*self._asked("rows", after, limit))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _asked(self, *request: Any) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("a process without pipes")
        try:
            _write(self._process.stdin, request)
            kind, value = _read(self._process.stdout, self._room)
        except (EOFError, BrokenPipeError):
            status = self._process.wait()
            if status in (_NO_MEMORY, -signal.SIGABRT, -signal.SIGSEGV):
                raise PageUnreadable(
                    "SQLite: the query takes more memory than ELT_ASSETS_PAGE_BYTES allows for one "
                    "page of rows; lower page_size, leave large columns out, or raise the setting"
                ) from None
            if status == -signal.SIGALRM:
                raise ProviderUnavailable(
                    "the query took longer than statement_timeout; an index on the key helps"
                ) from None
            raise ProviderUnavailable("SQLite: the process that reads the file ended") from None
        if kind in _ERRORS:
            raise _ERRORS[kind](value)
        return value


_TIMES = 6
"""The process may take this many times the memory of a page."""
_LEAST = 64 << 20
"""Bytes of memory that the process may take in any case, however small a page must be."""
_REQUEST = 1 << 20
"""Most bytes of a request to the process: a query and a key."""
_NO_MEMORY = 75
"""The exit status of the process when its memory does not suffice."""
# RLIMIT_AS also counts memory that is only reserved; these settings reserve less of it.
_ONE_HEAP = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
_ERRORS = {kind.__name__: kind for kind in (PermanentError, ProviderRefused, ProviderUnavailable)}


def _write(pipe: IO[bytes], message: Any) -> None:
    body = msgspec.msgpack.encode(message)
    pipe.write(struct.pack("<Q", len(body)) + body)
    pipe.flush()


def _read(pipe: IO[bytes], room: int) -> Any:
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    if size > room:
        raise PageUnreadable(f"SQLite: {PAGE_OVERRUN}")
    body = pipe.read(size)
    if len(body) < size:
        raise EOFError
    return msgspec.msgpack.decode(body)


class _Session:
    """A read-only session; each page is a transaction, so that no writer waits."""

    def __init__(self, path: str, query: str, key: str, timeout: float) -> None:
        # Imported when a session begins: the driver is a large library.
        from adbc_driver_sqlite import dbapi

        self._from = f"FROM (\n{plain(query)}\n) AS q"
        self._key = f"q.{_quoted(key)}"
        self._connection = None
        try:
            self._connection = dbapi.connect(f"file:{quote(path)}?mode=ro", autocommit=True)
            self._fetched(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
            self._fetched("PRAGMA query_only = 1")
            self._record = self._record_of(key)
        except Error as error:
            self.close()
            raise _ours(error) from None
        except BaseException:
            self.close()
            raise

    def survey(self) -> Survey:
        """Count rows, keys and distinct keys."""
        counted = self._fetched(
            f"SELECT count(*) AS a, count({self._key}) AS b, count(DISTINCT {self._key}) AS c"
            f" {self._from}"
        )
        return Survey(counted["a"][0], counted["b"][0], counted["c"][0])

    def rows(self, after: Key | None, limit: int) -> Rows:
        """The next rows after the key `after`, at most `limit`."""
        where = "" if after is None else f"WHERE {self._key} > ?"
        found = self._fetched(
            # JSON preserves the type of each key; a column of the driver's result has one type.
            f"SELECT CAST({self._record} AS BLOB) AS record, json_array({self._key}) AS key"
            f" {self._from} {where} ORDER BY {self._key} LIMIT {limit:d}",
            () if after is None else (after,),
        )
        records: list[bytes] = found["record"]
        return Rows(records, msgspec.json.decode(found["key"][-1])[0] if records else None)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _record_of(self, key: str) -> str:
        if self._connection is None:
            raise AssertionError("used before it is connected")
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT * {self._from} LIMIT 0")
            names = [column[0] for column in cursor.description or ()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ProviderRefused(f"the query names {', '.join(twice)} twice; use AS")
        if key not in names:
            raise ProviderRefused(f"the query has no column {key!r}; it has {', '.join(names)}")
        members = ", ".join(
            # JSON has no type for bytes, so a blob becomes hexadecimal text.
            f"{_text(name)}, CASE typeof(q.{_quoted(name)}) WHEN 'blob'"
            f" THEN hex(q.{_quoted(name)}) ELSE q.{_quoted(name)} END"
            for name in names
        )
        return f"json_object({members})"

    def _fetched(self, query: str, parameters: tuple[Any, ...] = ()) -> dict[str, list[Any]]:
        if self._connection is None:
            raise AssertionError("used before it is connected")
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(query, parameters or None)
                found: dict[str, list[Any]] = cursor.fetch_arrow_table().to_pydict()
                return found
        except Error as error:
            raise _ours(error) from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _ours(error: Error) -> ProviderRefused | ProviderUnavailable:
    said = str(error).splitlines()[0].rpartition(": ")[2]
    if "out of memory" in said or "string or blob too big" in said:
        raise MemoryError
    if "locked" in said or "busy" in said:
        return ProviderUnavailable("SQLite: the database file stayed locked")
    if "JSON cannot hold BLOB" in said:
        return ProviderRefused("the key column holds bytes; use hex() of it in the query")
    return ProviderRefused(f"SQLite: {visible(said, SHOWN)}")


def _limit_memory(page: int) -> None:
    """Limit this process to the memory it has now and six times `page`, at least 64 MiB more."""
    with suppress(OSError, ValueError):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = taken + max(_TIMES * page, _LEAST)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _serve() -> None:
    """Answer the requests of a `SqliteReader` until it closes the pipe."""
    session: _Session | None = None
    answer: Any
    seconds = 60.0
    # The default action ends the process even inside SQLite. The parent may have set another.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while True:
        try:
            name, *given = _read(sys.stdin.buffer, _REQUEST)
        except EOFError:
            return
        try:
            if name == "open":
                seconds, page = given.pop(), given.pop()
            signal.setitimer(signal.ITIMER_REAL, seconds)
            if session is None:
                session, answer = _Session(*given), None
                _limit_memory(page)
            elif name == "survey":
                found = session.survey()
                answer = (found.rows, found.with_key, found.distinct)
            else:
                page = session.rows(*given)
                answer = (page.records, page.last)
            signal.setitimer(signal.ITIMER_REAL, 0)
            _write(sys.stdout.buffer, ("", answer))
        except (PermanentError, ProviderUnavailable) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _write(sys.stdout.buffer, (type(error).__name__, str(error)))
        except MemoryError:
            os._exit(_NO_MEMORY)


if __name__ == "__main__":
    _serve()
