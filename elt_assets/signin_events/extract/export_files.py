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
import msgspec

from elt_assets.config.settings import Settings
from elt_assets.connectors.files.folder import File, Folder, fingerprint
from elt_assets.errors import EltAssetsError, RetryableError, Stopped, SyncError
from elt_assets.signin_events.extract.export_file import ExportFile
from elt_assets.signin_events.extract.file_content import Content, reading_content
from elt_assets.signin_events.extract.file_rows import FileCounts, read_csv, read_json_lines
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.progress_meter import ProgressMeter, watching
from elt_assets.signin_events.results import Arrival, FileLoad, FileStatus
from elt_assets.signin_events.step_run import StepRun
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.load_strategies import delete_then_insert
from elt_assets.storage.warehouse.warehouse import row_of, transaction
from elt_assets.sync.clock import now

PATTERNS = ("*.csv", "*.csv.gz", "*.jsonl", "*.jsonl.gz")

STREAMING_MEMORY = "128MB"
"""DuckDB's memory limit while it loads a file: with lines of usual length, the process stays below
400 MiB. A higher limit makes loading no faster. Compression takes further memory, depending on the
length of values."""

STREAMING_THREADS = 2
"""One for each half of a file."""

_RECORDED = "staged, rejected, same_as"


class _SameContent(Exception):
    """The same content was loaded before, so the transaction of this load is rolled back."""


class ExportFiles:
    """The folders of export files, `YYYY-MM-DD/`, and the loading of their files."""

    def __init__(self, settings: Settings, analytics: Analytics) -> None:
        self._root = settings.events_folder
        self._settle_seconds = settings.events_settle_seconds
        self._analytics = analytics

    def arrivals(self, moment: datetime | None = None) -> list[Arrival]:
        """The days whose files are no longer being written, oldest first."""
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
                # Loading the day reports what is wrong with its folder.
                continue
            if files and folder.settled(files, at):
                names = tuple(file.name for file in files)
                found.append(Arrival(day, fingerprint(files), names))
        return found

    def load(self, day: date, step: StepRun) -> list[FileLoad]:
        """Load the files of the day; return one result for each.

        Raises `Stopped`, and `SyncError` if the folder cannot be read or is still being written.
        """
        folder = self._folder(day)
        if not folder.path.is_dir():
            return []
        files = self._files(folder)
        if not folder.settled(files, time.time()):
            time.sleep(self._settle_seconds)
            if self._files(folder) != files:
                raise RetryableError(f"files in {folder.path} are still being written")
        return [self._loaded(ExportFile(folder.path_of(file), file, day), step) for file in files]

    def _folder(self, day: date) -> Folder:
        return Folder(self._root / day.isoformat(), settle_seconds=self._settle_seconds)

    def _files(self, folder: Folder) -> list[File]:
        found = {file for pattern in PATTERNS for file in folder.matching(pattern)}
        return sorted(found, key=lambda file: file.name)

    def _loaded(self, file: ExportFile, step: StepRun) -> FileLoad:
        """Load a file; a failure becomes its result here and nowhere else."""
        loading = _Loading(self._analytics, file, step, step.meter("csv_events", str(file)))
        try:
            return loading.run()
        except Stopped:
            raise
        except EltAssetsError as error:
            step.stop.check()
            text = str(error) if file.file.name in str(error) else f"{file}: {error}"
            retryable = isinstance(error, SyncError) and error.retryable
            loading.fail(text)
            failed = loading.result(FileStatus.FAILED, FileCounts())
            return msgspec.structs.replace(failed, error=text, retryable=retryable)


@dataclass(slots=True)
class _Loading:
    """One attempt at one file."""

    analytics: Analytics
    file: ExportFile
    step: StepRun
    meter: ProgressMeter

    def run(self) -> FileLoad:
        known = self.analytics.rows(
            f"SELECT {_RECORDED} FROM event_files WHERE ingested_day = $day AND file = $file"
            " AND look = $look AND status IN ('loaded', 'duplicate')",
            self.file.unit | {"look": self.file.look},
        )
        if known:
            return self._recorded(known[0])
        with reading_content(self.file) as content:
            return self._load(content)

    def fail(self, error: str) -> None:
        """Record the failure; rows of an earlier file with this name stay."""
        row = self._row(FileStatus.FAILED, FileCounts()) | {"error": error}
        with self.analytics.writing(Interruption()) as connection, transaction(connection):
            connection.execute(
                "UPDATE event_files SET error = $error, run_id = $run_id"
                " WHERE ingested_day = $day AND file = $file AND status = 'loaded'",
                self.file.unit | {"error": error, "run_id": self.step.run_id},
            )
            connection.execute(
                "DELETE FROM event_files"
                " WHERE ingested_day = $day AND file = $file AND status <> 'loaded'",
                self.file.unit,
            )
            connection.execute(
                f"INSERT INTO event_files BY NAME {row_of(row)} WHERE NOT EXISTS ("
                " FROM event_files WHERE ingested_day = $ingested_day AND file = $file)",
                row,
            )

    def _load(self, content: Content) -> FileLoad:
        read = read_csv if self.file.is_csv else read_json_lines
        try:
            with self.analytics.writing(self.step.stop) as connection, transaction(connection):
                self._drop_earlier(connection)
                with watching(
                    connection, self.meter, content.expected_lines, lambda: content.loaded
                ):
                    counts = read(connection, self.file, content, self.step.stop)
                content.wait(self.step.stop)
                self.file.refuse_changed()
                if (same := self._same(connection, content.digest)) is not None:
                    raise _SameContent(same)
                self._record(connection, FileStatus.LOADED, content.digest, counts)
        except _SameContent as known:
            return self._duplicate(content.digest, str(known))
        self.meter.at(counts.fetched, 1.0, last=True)
        return self.result(FileStatus.LOADED, counts)

    def _drop_earlier(self, connection: duckdb.DuckDBPyConnection) -> None:
        for table in ("raw_csv_events", "rejected_events"):
            connection.execute(
                f"DELETE FROM {table} WHERE ingested_day = $day AND file = $file", self.file.unit
            )

    def _same(self, connection: duckdb.DuckDBPyConnection, digest: str) -> str | None:
        """The loaded file with the same content; None if there is none."""
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

    def _duplicate(self, digest: str, same_as: str) -> FileLoad:
        """Record that the content was loaded before, under this file's name or another's."""
        with self.analytics.writing(self.step.stop) as connection, transaction(connection):
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
                return self._recorded(row)
            self._drop_earlier(connection)
            self._record(connection, FileStatus.DUPLICATE, digest, FileCounts(), same_as)
        return self.result(FileStatus.DUPLICATE, FileCounts(), same_as)

    def _record(
        self,
        connection: duckdb.DuckDBPyConnection,
        status: FileStatus,
        digest: str,
        counts: FileCounts,
        same_as: str | None = None,
    ) -> None:
        row = self._row(status, counts) | {
            "digest": digest,
            "same_as": same_as,
            "plain_lines": counts.plain,
        }
        delete_then_insert(
            connection,
            "event_files",
            {"ingested_day": self.file.day, "file": self.file.file.name},
            row_of(row),
            row,
        )

    def _row(self, status: FileStatus, counts: FileCounts) -> dict[str, object]:
        return {
            "ingested_day": self.file.day,
            "file": self.file.file.name,
            "look": self.file.look,
            "size": self.file.file.size,
            "status": str(status),
            "fetched": counts.fetched,
            "staged": counts.staged,
            "rejected": counts.rejected,
            "run_id": self.step.run_id,
            "loaded_at": now(),
        }

    def _recorded(self, row: tuple[Any, ...]) -> FileLoad:
        staged, rejected, same_as = row
        status = FileStatus.UNCHANGED if same_as is None else FileStatus.DUPLICATE
        return self.result(status, FileCounts(staged, rejected), same_as)

    def result(
        self, status: FileStatus, counts: FileCounts, same_as: str | None = None
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
            seconds=self.meter.seconds,
        )


def _day(name: str) -> date | None:
    with suppress(ValueError):
        found = date.fromisoformat(name)
        return found if found.isoformat() == name else None
    return None
