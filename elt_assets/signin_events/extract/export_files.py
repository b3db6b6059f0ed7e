"""Load a day's export files, each in one transaction with its checkpoint.

A file that was loaded before is recognized and skipped.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from elt_assets.config.settings import Settings
from elt_assets.connectors.files.folder import File, Folder, fingerprint
from elt_assets.errors import EltAssetsError, RetryableError, Stopped, SyncError
from elt_assets.signin_events.extract.export_file import ExportFile
from elt_assets.signin_events.extract.file_content import Content, read_beside
from elt_assets.signin_events.extract.file_rows import Counts, read_csv, read_json_lines
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.progress_meter import ProgressMeter, watching
from elt_assets.signin_events.results import Arrival, EventListener, FileLoad, FileStatus
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.load_strategies import delete_then_insert
from elt_assets.storage.warehouse.warehouse import transaction
from elt_assets.sync.clock import now

PATTERNS = ("*.csv", "*.csv.gz", "*.jsonl", "*.jsonl.gz")

STREAMING_MEMORY = "128MB"
"""What DuckDB may use while a file streams through it: with lines of the usual length, the process
stays below 400 MiB. More makes it no quicker. Compressing takes further memory, by the length of
values."""

STREAMING_THREADS = 2
"""One for each half of a file."""

_RECORDED = "staged, rejected, same_as"


class _Known(Exception):
    """The content was loaded before; what was done for it is taken back."""


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
        files = self._files(folder)
        if not folder.settled(files, time.time()):
            time.sleep(self._settle_seconds)
            if self._files(folder) != files:
                raise RetryableError(f"files in {folder.path} are still being written")
        return [self._settled(folder, file, day, run_id, progress, stop) for file in files]

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
        what = ExportFile(folder.path_of(file), file, day)
        loading = _Loading(self._analytics, what, run_id, stop)
        meter = ProgressMeter("csv_events", str(what), progress)
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
    file: ExportFile
    run_id: str | None
    stop: Interruption

    def run(self, meter: ProgressMeter) -> FileLoad:
        known = self.analytics.rows(
            f"SELECT {_RECORDED} FROM event_files WHERE ingested_day = $day AND file = $file"
            " AND look = $look AND status IN ('loaded', 'duplicate')",
            self.file.unit | {"look": self.file.look},
        )
        if known:
            return self._recorded(known[0], meter)
        with read_beside(self.file) as content:
            return self._load(content, meter)

    def fail(self, error: str) -> None:
        """Record the failure; what was loaded of an earlier file of this name stays."""
        with self.analytics.writing(Interruption()) as connection, transaction(connection):
            connection.execute(
                "UPDATE event_files SET error = $error, run_id = $run_id"
                " WHERE ingested_day = $day AND file = $file AND status = 'loaded'",
                self.file.unit | {"error": error, "run_id": self.run_id},
            )
            connection.execute(
                "DELETE FROM event_files"
                " WHERE ingested_day = $day AND file = $file AND status <> 'loaded'",
                self.file.unit,
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
                self.file.unit
                | {
                    "look": self.file.look,
                    "size": self.file.file.size,
                    "run_id": self.run_id,
                    "error": error,
                    "now": now(),
                },
            )

    def _load(self, content: Content, meter: ProgressMeter) -> FileLoad:
        read = read_csv if self.file.is_csv else read_json_lines
        try:
            with self.analytics.writing(self.stop) as connection, transaction(connection):
                self._drop_earlier(connection)
                with watching(connection, meter, content.expected_lines, lambda: content.loaded):
                    counts = read(connection, self.file, content, self.stop)
                content.wait(self.stop)
                self.file.refuse_changed()
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
                f"DELETE FROM {table} WHERE ingested_day = $day AND file = $file", self.file.unit
            )

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

    def _recognised(self, digest: str, same_as: str, meter: ProgressMeter) -> FileLoad:
        """The file of this name was loaded before and only touched, or another one has it all."""
        with self.analytics.writing(self.stop) as connection, transaction(connection):
            if same_as == str(self.file):
                connection.execute(
                    "UPDATE event_files SET look = $look, error = NULL"
                    " WHERE ingested_day = $day AND file = $file",
                    self.file.unit | {"look": self.file.look},
                )
                (row,) = connection.execute(
                    f"SELECT {_RECORDED} FROM event_files"
                    " WHERE ingested_day = $day AND file = $file",
                    self.file.unit,
                ).fetchall()
                return self._recorded(row, meter)
            self._drop_earlier(connection)
            self._record(connection, FileStatus.DUPLICATE, digest, Counts(), same_as)
        return self._result(FileStatus.DUPLICATE, Counts(), meter, same_as)

    def _record(
        self,
        connection: duckdb.DuckDBPyConnection,
        status: FileStatus,
        digest: str,
        counts: Counts,
        same_as: str | None = None,
    ) -> None:
        delete_then_insert(
            connection,
            "event_files",
            {"ingested_day": self.file.day, "file": self.file.file.name},
            """
            SELECT
                $day::DATE AS ingested_day, $file AS file, $look AS look, $digest AS digest,
                $size AS size, $status AS status, $same_as AS same_as,
                $plain AS plain_lines, $fetched AS fetched, $staged AS staged,
                $rejected AS rejected, $run_id AS run_id, $now::TIMESTAMP AS loaded_at
            """,
            self.file.unit
            | {
                "look": self.file.look,
                "digest": digest,
                "size": self.file.file.size,
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

    def _recorded(self, row: tuple[Any, ...], meter: ProgressMeter) -> FileLoad:
        staged, rejected, same_as = row
        status = FileStatus.UNCHANGED if same_as is None else FileStatus.DUPLICATE
        return self._result(status, Counts(staged, rejected), meter, same_as)

    def _result(
        self, status: FileStatus, counts: Counts, meter: ProgressMeter, same_as: str | None = None
    ) -> FileLoad:
        return FileLoad(
            day=self.file.day,
            file=self.file.file.name,
            status=status,
            size=self.file.file.size,
            fetched=counts.fetched,
            staged=counts.staged,
            rejected=counts.rejected,
            same_as=same_as,
            seconds=meter.seconds,
        )


def _day(name: str) -> date | None:
    with suppress(ValueError):
        found = date.fromisoformat(name)
        return found if found.isoformat() == name else None
    return None
