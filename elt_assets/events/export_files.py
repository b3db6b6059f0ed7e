"""Extraction from export files: the day's CSV and JSON Lines files into the warehouse, as text.

Belongs here: which files, recognising one that was loaded before, loading it in one
transaction with its checkpoint, and the lines that are no records. Does not: what a record
means (normalize).

DuckDB reads CSV itself: it streams a file of any size through a few buffers and writes down
which lines it cannot take, and why. Meanwhile another thread reads the same bytes to know
the content's digest, and the number of its lines: that no line was lost is not left to the
reader that would have lost it.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa

from elt_assets.connectors.files import csv_file, json_file
from elt_assets.connectors.files.chunk import Chunk
from elt_assets.connectors.files.csv_file import header
from elt_assets.connectors.files.data import FileStream
from elt_assets.connectors.files.folder import File, Folder, fingerprint
from elt_assets.connectors.files.text import Lines, Text, opened, reading
from elt_assets.connectors.salvage import UNREADABLE
from elt_assets.errors import (
    BooksUnbalanced,
    EltAssetsError,
    PageUnreadable,
    PermanentError,
    RetryableError,
    Stopped,
    SyncError,
)
from elt_assets.events.analytics import Analytics
from elt_assets.events.interruption import Interruption
from elt_assets.events.meter import INTERVAL, Meter
from elt_assets.events.outcome import Arrival, EventListener, FileLoad, FileStatus
from elt_assets.events.schema import SIGNIN_EVENT
from elt_assets.events.strategies import delete_then_insert, inserted
from elt_assets.settings import Settings
from elt_assets.sync.clock import now
from elt_assets.sync.mapping import sql_literal
from elt_assets.sync.stage import transaction

PATTERNS = ("*.csv", "*.csv.gz", "*.jsonl", "*.jsonl.gz")

STREAMING_MEMORY = "112MB"
"""What DuckDB may use while a file streams through it; more makes it no quicker."""

_PIECE = 2**20
_LONGEST_RAW = 2_000
_RECORDED = "staged, rejected, same_as"
_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_REJECTS = """
    SELECT DISTINCT ON (line)
        line, csv_line AS raw,
        CASE error_type
            WHEN 'MISSING COLUMNS' THEN 'has fewer values than the header'
            WHEN 'TOO MANY COLUMNS' THEN 'has more values than the header'
            WHEN 'UNQUOTED VALUE' THEN 'has a quote that is not closed'
            WHEN 'INVALID ENCODING' THEN 'is not UTF-8'
            WHEN 'LINE SIZE OVER MAXIMUM' THEN 'is too long'
            ELSE lower(error_type::VARCHAR)
        END AS reason
    FROM reject_errors
    ORDER BY line, column_idx
"""


@dataclass(slots=True)
class _Content:
    """What the bytes of a file say, read beside loading it."""

    digest: str = ""
    lines: int = 0
    share: float = 0.0
    error: EltAssetsError | None = None
    done: threading.Event = field(default_factory=threading.Event)
    unwanted: threading.Event = field(default_factory=threading.Event)


class _Known(Exception):
    """The content was loaded before; what was done for it is taken back."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """Of one file; `plain` if each record is one line."""

    staged: int = 0
    rejected: int = 0
    plain: bool = True

    @property
    def fetched(self) -> int:
        return self.staged + self.rejected


_Reader = Callable[[duckdb.DuckDBPyConnection, _Content], _Counts]


class ExportFiles:
    """The folder of export files, `YYYY-MM-DD/`, and what was loaded of it."""

    def __init__(self, settings: Settings, analytics: Analytics) -> None:
        self._root = settings.events_folder
        self._settle_seconds = settings.events_settle_seconds
        self._analytics = analytics

    def arrivals(self, moment: datetime | None = None) -> list[Arrival]:
        """The days of which all files stand still, oldest first."""
        at = (moment or datetime.now(UTC)).timestamp()
        found = []
        for path in sorted(self._root.glob("*")):
            day = _day(path.name)
            if day is None or not path.is_dir():
                continue
            folder = self._folder(day)
            try:
                files = self._files(folder)
            except SyncError:
                # Loading the day says what is wrong with its folder.
                continue
            if files and folder.settled(files, at):
                names = tuple(file.name for file in files)
                found.append(Arrival(day, fingerprint(files), names))
        return found

    def load(
        self, day: date, *, run_id: str | None, progress: EventListener, stop: Interruption
    ) -> list[FileLoad]:
        """One result for each file of the day. Raises `Stopped`, and what a folder cannot be."""
        folder = self._folder(day)
        if not folder.path.is_dir():
            return []
        return [
            self._settled(folder, file, day, run_id, progress, stop) for file in self._files(folder)
        ]

    def _folder(self, day: date) -> Folder:
        return Folder(self._root / day.isoformat(), settle_seconds=self._settle_seconds)

    def _files(self, folder: Folder) -> list[File]:
        found = {file for pattern in PATTERNS for file in folder.matching(pattern)}
        return sorted(found, key=lambda file: file.name)

    def _settled(
        self,
        folder: Folder,
        file: File,
        day: date,
        run_id: str | None,
        progress: EventListener,
        stop: Interruption,
    ) -> FileLoad:
        """The one place where a file's failure becomes its result."""
        what = f"{day.isoformat()}/{file.name}"
        loading = _Loading(self._analytics, folder.path_of(file), file, day, run_id, stop, what)
        meter = Meter("csv_events", what, progress)
        try:
            return loading.run(meter)
        except Stopped:
            raise
        except EltAssetsError as error:
            stop.check()
            text = str(error) if file.name in str(error) else f"{what}: {error}"
            retryable = isinstance(error, SyncError) and error.retryable
            loading.fail(text)
            return FileLoad(
                day,
                file.name,
                FileStatus.FAILED,
                file.size,
                seconds=meter.seconds,
                error=text,
                retryable=retryable,
            )


@dataclass(slots=True)
class _Loading:
    """One attempt at one file."""

    analytics: Analytics
    path: Path
    file: File
    day: date
    run_id: str | None
    stop: Interruption
    what: str

    @property
    def look(self) -> str:
        return fingerprint([self.file])

    @property
    def unit(self) -> dict[str, object]:
        return {"day": self.day, "file": self.file.name}

    def run(self, meter: Meter) -> FileLoad:
        known = self.analytics.rows(
            f"SELECT {_RECORDED} FROM event_files WHERE ingested_day = $day AND file = $file"
            " AND look = $look AND status IN ('loaded', 'duplicate')",
            self.unit | {"look": self.look},
        )
        if known:
            return self._recorded(known[0], meter)
        with self._read_beside() as content:
            if self.file.name.lower().removesuffix(".gz").endswith(".csv"):
                return self._load(content, meter, self._csv)
            return self._load(content, meter, self._json_lines)

    def fail(self, error: str) -> None:
        """Record the failure; what was loaded of an earlier file of this name stays."""
        with self.analytics.writing(Interruption()) as connection, transaction(connection):
            connection.execute(
                "UPDATE event_files SET error = $error, run_id = $run_id"
                " WHERE ingested_day = $day AND file = $file AND status = 'loaded'",
                self.unit | {"error": error, "run_id": self.run_id},
            )
            connection.execute(
                "DELETE FROM event_files"
                " WHERE ingested_day = $day AND file = $file AND status <> 'loaded'",
                self.unit,
            )
            connection.execute(
                """
                INSERT INTO event_files BY NAME
                SELECT
                    $day::DATE AS ingested_day, $file AS file, $look AS look, $size AS size,
                    'failed' AS status, 0 AS fetched, 0 AS staged, 0 AS rejected,
                    $run_id AS run_id, $error AS error, $now::TIMESTAMP AS loaded_at
                WHERE NOT EXISTS (
                    FROM event_files WHERE ingested_day = $day::DATE AND file = $file
                )
                """,
                self.unit
                | {
                    "look": self.look,
                    "size": self.file.size,
                    "run_id": self.run_id,
                    "error": error,
                    "now": now(),
                },
            )

    def _load(self, content: _Content, meter: Meter, read: _Reader) -> FileLoad:
        try:
            with self.analytics.writing(self.stop) as connection:
                _watchable(connection)
                with transaction(connection):
                    self._drop_earlier(connection)
                    with _polling(connection, content, meter):
                        counts = read(connection, content)
                    self._wait_for(content)
                    self._refuse_changed()
                    if (same := self._same(connection, content.digest)) is not None:
                        raise _Known(same)
                    self._record(connection, FileStatus.LOADED, content.digest, counts)
        except _Known as known:
            return self._recognised(content.digest, str(known), meter)
        meter.at(counts.fetched, 1.0, last=True)
        return self._result(FileStatus.LOADED, counts, meter)

    def _drop_earlier(self, connection: duckdb.DuckDBPyConnection) -> None:
        for table in ("raw_csv_events", "rejected_events"):
            connection.execute(
                f"DELETE FROM {table} WHERE ingested_day = $day AND file = $file", self.unit
            )

    def _csv(self, connection: duckdb.DuckDBPyConnection, content: _Content) -> _Counts:
        """Have DuckDB read the file; see that it lost no line."""
        with self._text() as text:
            lines = Lines(text, {})
            delimiter, names = header(lines, self.file.name)
            above = lines.line
        columns = self._columns(names)
        described = ", ".join(f"{sql_literal(name)}: 'VARCHAR'" for name in names)
        compressed = "gzip" if self.file.name.lower().endswith(".gz") else "none"
        staged = inserted(
            connection,
            f"""
            INSERT INTO raw_csv_events BY NAME
            SELECT $day::DATE AS ingested_day, $file AS file, {columns}
            FROM read_csv(
                {sql_literal(str(self.path))}, auto_detect = false, header = true,
                delim = {sql_literal(delimiter)}, quote = '"', escape = '"',
                columns = {{{described}}}, compression = '{compressed}',
                store_rejects = true, rejects_limit = 0, null_padding = false
            )
            """,
            self.unit,
        )
        rejected = inserted(
            connection,
            f"""
            INSERT INTO rejected_events BY NAME
            SELECT
                'csv' AS source, 'extract' AS stage, $day::DATE AS ingested_day, $file AS file,
                line, reason, left(trim(raw, chr(10) || chr(13)), {_LONGEST_RAW}) AS raw,
                $now::TIMESTAMP AS created_at
            FROM ({_REJECTS})
            """,
            self.unit | {"now": now()},
        )
        self._wait_for(content)
        plain = content.lines - above == staged + rejected
        if not plain:
            self._refuse_lost(staged + rejected, delimiter)
        return _Counts(staged, rejected, plain)

    def _json_lines(self, connection: duckdb.DuckDBPyConnection, content: _Content) -> _Counts:
        """Hand the file over in chunks; markers stand in the place of what is no JSON."""
        staged = rejected = 0
        with self._text() as text:
            for chunk in json_file.line_chunks(text, {}):
                self.stop.check()
                more, less = self._land(connection, chunk)
                staged, rejected = staged + more, rejected + less
                if more + less != chunk.count:
                    raise BooksUnbalanced(
                        f"{self.what}: {chunk.count} records were read and {more + less} came to "
                        "the warehouse; nothing of the file was kept"
                    )
        self._wait_for(content)
        return _Counts(staged, rejected, content.lines == staged + rejected)

    def _land(self, connection: duckdb.DuckDBPyConnection, chunk: Chunk) -> tuple[int, int]:
        body = pa.array([chunk.body], pa.large_binary()).cast(pa.large_string())
        connection.register("file_chunk", pa.table({"body": body}))
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE file_records AS
            SELECT
                raw,
                CASE
                    WHEN json_type(raw) <> 'OBJECT' THEN 'record is not an object'
                    ELSE json_extract_string(raw, '/{UNREADABLE}')
                END AS reason
            FROM (SELECT unnest(json_extract(body, '$[*]')) AS raw FROM file_chunk)
            """
        )
        connection.unregister("file_chunk")
        texts = ", ".join(
            f"json_extract_string(raw, '/{name}') AS {name}" for name in SIGNIN_EVENT.names
        )
        staged = inserted(
            connection,
            f"""
            INSERT INTO raw_csv_events BY NAME
            SELECT $day::DATE AS ingested_day, $file AS file, {texts}
            FROM file_records
            WHERE reason IS NULL
            """,
            self.unit,
        )
        rejected = inserted(
            connection,
            f"""
            INSERT INTO rejected_events BY NAME
            SELECT
                'csv' AS source, 'extract' AS stage, $day::DATE AS ingested_day, $file AS file,
                try_cast(replace(regexp_extract(reason, '^line ([0-9,]+):', 1), ',', '') AS BIGINT)
                    AS line,
                regexp_replace(reason, '^line [0-9,]+: ', '') AS reason,
                left(raw::VARCHAR, {_LONGEST_RAW}) AS raw, $now::TIMESTAMP AS created_at
            FROM file_records
            WHERE reason IS NOT NULL
            """,
            self.unit | {"now": now()},
        )
        return staged, rejected

    @contextmanager
    def _text(self) -> Iterator[Text]:
        with self._raw() as raw:
            head = raw.read(2)
            raw.seek(0)
            if head.startswith(_OTHER_MARKS):
                raise PageUnreadable(f"{self.what} is not UTF-8; write export files in it")
            with opened(raw, self.file.name, None) as text:
                yield text

    @contextmanager
    def _raw(self) -> Iterator[IO[bytes]]:
        with reading(self.file.name):
            try:
                raw = self.path.open("rb", buffering=0)
            except FileNotFoundError:
                raise PermanentError(f"{self.what} is gone since it was looked for") from None
            with raw:
                yield raw

    def _columns(self, names: list[str]) -> str:
        """What of the file is wanted: the schema's fields, whatever case its header is in."""
        known = {name.strip().lower(): name for name in names}
        missing = [
            one.name for one in SIGNIN_EVENT.fields if one.required and one.name not in known
        ]
        if missing:
            raise PageUnreadable(
                f"{self.what} has no column {', '.join(missing)}; its header names "
                f"{', '.join(names)}"
            )
        return ", ".join(
            '"' + known[name].replace('"', '""') + f'" AS {name}'
            for name in SIGNIN_EVENT.names
            if name in known
        )

    def _refuse_lost(self, records: int, delimiter: str) -> None:
        """Raise `BooksUnbalanced` if another reader finds more records than were loaded.

        Records are not lines when values hold line ends or lines are empty.
        """
        stream = FileStream(path="*", delimiter=delimiter, fields={"external_id": "event_id"})
        with self._text() as text:
            found = 0
            for chunk in csv_file.chunks(text, self.file.name, stream, {}):
                self.stop.check()
                found += chunk.count
        if found > records:
            raise BooksUnbalanced(
                f"{self.what} holds {found:,} records and {records:,} were read; nothing of it "
                "was kept. Look for a quote that is not closed"
            )

    @contextmanager
    def _read_beside(self) -> Iterator[_Content]:
        """Read the bytes in another thread while the block runs."""
        content = _Content()
        thread = threading.Thread(target=self._read, args=(content,), daemon=True)
        thread.start()
        try:
            yield content
        finally:
            content.unwanted.set()
            thread.join()

    def _read(self, content: _Content) -> None:
        digest, last = hashlib.sha256(), b""
        try:
            with self._raw() as raw, opened(raw, self.file.name, None) as text:
                while not content.unwanted.is_set() and (piece := text.stream.read(_PIECE)):
                    digest.update(piece)
                    content.lines += piece.count(b"\n")
                    content.share = os.lseek(raw.fileno(), 0, os.SEEK_CUR) / self.file.size
                    last = piece
            content.lines += bool(last) and not last.endswith(b"\n")
            content.digest = digest.hexdigest()
        except EltAssetsError as error:
            content.error = error
        finally:
            content.done.set()

    def _wait_for(self, content: _Content) -> None:
        while not content.done.wait(0.5):
            self.stop.check()
        if content.error is not None:
            raise content.error

    def _refuse_changed(self) -> None:
        try:
            found = File.of(self.file.name, self.path.stat())
        except OSError:
            found = None
        if found != self.file:
            raise RetryableError(f"{self.what} changed while it was read; nothing of it was kept")

    def _same(self, connection: duckdb.DuckDBPyConnection, digest: str) -> str | None:
        """The loaded file that has the same content, if any."""
        row = connection.execute(
            """
            SELECT strftime(ingested_day, '%Y-%m-%d') || '/' || file
            FROM event_files
            WHERE digest = $digest AND status = 'loaded'
            ORDER BY ingested_day, file
            LIMIT 1
            """,
            {"digest": digest},
        ).fetchone()
        return None if row is None else row[0]

    def _recognised(self, digest: str, same_as: str, meter: Meter) -> FileLoad:
        """The file of this name was loaded before and only touched, or another one has it all."""
        with self.analytics.writing(self.stop) as connection, transaction(connection):
            if same_as == self.what:
                connection.execute(
                    "UPDATE event_files SET look = $look, error = NULL"
                    " WHERE ingested_day = $day AND file = $file",
                    self.unit | {"look": self.look},
                )
                (row,) = connection.execute(
                    f"SELECT {_RECORDED} FROM event_files"
                    " WHERE ingested_day = $day AND file = $file",
                    self.unit,
                ).fetchall()
                return self._recorded(row, meter)
            self._drop_earlier(connection)
            self._record(connection, FileStatus.DUPLICATE, digest, _Counts(), same_as)
        return self._result(FileStatus.DUPLICATE, _Counts(), meter, same_as)

    def _record(
        self,
        connection: duckdb.DuckDBPyConnection,
        status: FileStatus,
        digest: str,
        counts: _Counts,
        same_as: str | None = None,
    ) -> None:
        delete_then_insert(
            connection,
            "event_files",
            {"ingested_day": self.day, "file": self.file.name},
            """
            SELECT
                $day::DATE AS ingested_day, $file AS file, $look AS look, $digest AS digest,
                $size AS size, $status AS status, $same_as AS same_as,
                $plain AS plain_lines, $fetched AS fetched, $staged AS staged,
                $rejected AS rejected, $run_id AS run_id, $now::TIMESTAMP AS loaded_at
            """,
            self.unit
            | {
                "look": self.look,
                "digest": digest,
                "size": self.file.size,
                "status": str(status),
                "same_as": same_as,
                "plain": counts.plain,
                "fetched": counts.fetched,
                "staged": counts.staged,
                "rejected": counts.rejected,
                "run_id": self.run_id,
                "now": now(),
            },
        )

    def _recorded(self, row: tuple[Any, ...], meter: Meter) -> FileLoad:
        staged, rejected, same_as = row
        status = FileStatus.UNCHANGED if same_as is None else FileStatus.DUPLICATE
        return self._result(status, _Counts(staged, rejected), meter, same_as)

    def _result(
        self, status: FileStatus, counts: _Counts, meter: Meter, same_as: str | None = None
    ) -> FileLoad:
        return FileLoad(
            day=self.day,
            file=self.file.name,
            status=status,
            size=self.file.size,
            fetched=counts.fetched,
            staged=counts.staged,
            rejected=counts.rejected,
            same_as=same_as,
            seconds=meter.seconds,
        )


def _watchable(connection: duckdb.DuckDBPyConnection) -> None:
    """Have DuckDB know how far a statement is, and say nothing about it itself."""
    connection.execute("SET enable_progress_bar = true")
    connection.execute("SET enable_progress_bar_print = false")


@contextmanager
def _polling(
    connection: duckdb.DuckDBPyConnection, content: _Content, meter: Meter
) -> Iterator[None]:
    """Tell how far the statement of the block is, from another thread."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(INTERVAL):
            share = max(connection.query_progress(), 0.0) / 100
            lines = content.lines / content.share if content.share else 0
            meter.at(int(lines * share), share or None)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _day(name: str) -> date | None:
    with suppress(ValueError):
        found = date.fromisoformat(name)
        return found if found.isoformat() == name else None
    return None
