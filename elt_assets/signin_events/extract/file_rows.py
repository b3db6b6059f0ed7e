"""Load the rows of an export file: CSV by DuckDB, JSON Lines in chunks.

DuckDB streams a CSV file of any size through a few buffers and records which lines it cannot parse,
and why. Rows of one part of a file keep the order of its lines. Another reader counts the lines, so
that a lost line is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from elt_assets.connectors.files import csv_file, json_file
from elt_assets.connectors.files.chunk import Chunk
from elt_assets.connectors.files.csv_layout import header
from elt_assets.connectors.files.files_data import FileStream
from elt_assets.connectors.files.text import Lines
from elt_assets.connectors.json.malformed_records import UNREADABLE
from elt_assets.errors import BooksUnbalanced, PageUnreadable
from elt_assets.signin_events.extract.csv_halves import Part, in_parts, likely_cut
from elt_assets.signin_events.extract.export_file import LIMITS, ExportFile
from elt_assets.signin_events.extract.file_content import Content
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.warehouse.analytics import in_any_order
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT
from elt_assets.signin_events.warehouse.load_strategies import inserted
from elt_assets.storage.warehouse.warehouse import literal, one_row
from elt_assets.sync.clock import now

_LONGEST_RAW = 2_000
_BESIDE_CHUNKS = "112MB"
_SOURCE = "which_part_it_was_read_from"
_BUFFER = 2**22
"""Bytes that DuckDB reads at a time. Its default is eight times as large, and no faster."""

_REJECTS = """
    SELECT DISTINCT ON (file_path, line)
        file_path, line, csv_line AS raw,
        CASE error_type
            WHEN 'MISSING COLUMNS' THEN 'has fewer values than the header'
            WHEN 'TOO MANY COLUMNS' THEN 'has more values than the header'
            WHEN 'UNQUOTED VALUE' THEN 'has a quote that is not closed'
            WHEN 'INVALID ENCODING' THEN 'is not UTF-8'
            WHEN 'LINE SIZE OVER MAXIMUM' THEN 'is too long'
            ELSE lower(error_type::VARCHAR)
        END AS reason
    FROM reject_errors
    JOIN reject_scans USING (scan_id, file_id)
    ORDER BY file_path, line, column_idx
"""


@dataclass(frozen=True, slots=True)
class FileCounts:
    """The counts of one file; `plain` if each record is one line."""

    staged: int = 0
    rejected: int = 0
    plain: bool = True

    @property
    def fetched(self) -> int:
        """The number of all records, staged or rejected."""
        return self.staged + self.rejected


def read_csv(
    connection: duckdb.DuckDBPyConnection, file: ExportFile, content: Content, stop: Interruption
) -> FileCounts:
    """Have DuckDB load the file, and check that it lost no line.

    Raises `BooksUnbalanced` if it lost one, `PageUnreadable` if the file cannot be read.
    """
    with file.text() as text:
        lines = Lines(text, {})
        delimiter, names = header(lines, file.file.name, most=LIMITS.columns)
        above = lines.line
    reading = _Reading(connection, file, content, stop, delimiter, names, above)
    counts = reading.in_halves() or reading.as_one()
    content.wait(stop)
    records = counts.fetched
    plain = content.lines - above == records
    if not plain:
        _refuse_lost(file, records, delimiter, stop)
    return FileCounts(counts.staged, counts.rejected, plain)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One CSV file while it is loaded into the table."""

    connection: duckdb.DuckDBPyConnection
    file: ExportFile
    content: Content
    stop: Interruption
    delimiter: str
    names: list[str]
    above: int
    """The number of lines up to and including the header."""

    def as_one(self) -> FileCounts:
        """Read the file from its first to its last line."""
        whole = Part(0, self.file.file.size, source=str(self.file.path))
        with _one_thread(self.connection):
            return FileCounts(self._stage([whole]), self._reject([whole], [0]))

    def in_halves(self) -> FileCounts | None:
        """Read both halves at once; None, with nothing staged, if the file must be read as one."""
        cut = likely_cut(self.file, self.delimiter, len(self.names))
        if cut is None:
            return None
        with in_parts(self.file, self.above, cut, self.content) as parts:
            staged = self._stage(parts)
        self.content.wait(self.stop)
        # The cut is after the line that contains the middle.
        lines_above = self.content.line_ends_before_middle + 1
        if not self._ends_with_a_record(parts[0], lines_above - self.above):
            self.connection.execute(
                "DELETE FROM raw_csv_events WHERE ingested_day = $day AND file = $file",
                self.file.unit,
            )
            self._forget_rejects()
            return None
        return FileCounts(staged, self._reject(parts, [self.above, lines_above]))

    def _ends_with_a_record(self, first: Part, lines: int) -> bool:
        """Whether the first half certainly ends with a record: each of its lines is one record.

        DuckDB reports nothing when a half ends inside quotes, but the lines within the quotes are
        then missing from the number of records.
        """
        (records,) = one_row(
            self.connection,
            f"""
            SELECT
                (
                    SELECT count(*)
                    FROM raw_csv_events
                    WHERE ingested_day = $day AND file = $file AND part = 0
                )
                + (SELECT count(*) FROM ({_REJECTS}) WHERE file_path = $source)
            """,
            self.file.unit | {"source": first.source},
        )
        return bool(records == lines)

    def _stage(self, parts: Sequence[Part]) -> int:
        columns = _columns(self.file, self.names)
        described = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self.names)
        compressed = "gzip" if self.file.is_compressed else "none"
        sources = ", ".join(literal(part.source) for part in parts)
        query = f"""
            SELECT
                $day::DATE AS ingested_day, $file AS file,
                coalesce(list_position([{sources}], {_SOURCE}) - 1, 0) AS part, {columns}
            FROM read_csv(
                [{sources}], auto_detect = false, header = {len(parts) == 1},
                delim = {literal(self.delimiter)}, quote = '"', escape = '"',
                columns = {{{described}}}, compression = '{compressed}',
                store_rejects = true, rejects_limit = 0, null_padding = false,
                buffer_size = {_BUFFER}, parallel = false, filename = '{_SOURCE}'
            )
        """
        # One thread reads each part, so that its rows keep their order. The parts need no order
        # among each other, and keeping one would make one part wait for the other.
        with in_any_order(self.connection):
            return _streamed(
                self.connection,
                f"INSERT INTO raw_csv_events BY NAME {query}",
                self.file,
                self.content,
                self.stop,
            )

    def _reject(self, parts: Sequence[Part], lines_above: Sequence[int]) -> int:
        """Write the rejected lines to the dead letters; return how many there are.

        DuckDB counts lines from where it begins to read; `lines_above` has the number of lines
        before each part.
        """
        above = " ".join(
            f"WHEN {literal(part.source)} THEN {lines}"
            for part, lines in zip(parts, lines_above, strict=True)
        )
        rejected = inserted(
            self.connection,
            f"""
            INSERT INTO rejected_events BY NAME
            SELECT
                'csv' AS source, 'extract' AS stage, $day::DATE AS ingested_day, $file AS file,
                line + CASE file_path {above} END AS line, reason,
                left(trim(raw, chr(10) || chr(13)), {_LONGEST_RAW}) AS raw,
                $now::TIMESTAMP AS created_at
            FROM ({_REJECTS})
            """,
            self.file.unit | {"now": now()},
        )
        self._forget_rejects()
        return rejected

    def _forget_rejects(self) -> None:
        for table in ("reject_errors", "reject_scans"):
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{table}")


def read_json_lines(
    connection: duckdb.DuckDBPyConnection, file: ExportFile, content: Content, stop: Interruption
) -> FileCounts:
    """Load a JSON Lines file in chunks; a marker takes the place of each line that is not JSON."""
    staged = rejected = 0
    with file.text() as text, _beside_chunks(connection):
        for chunk in json_file.line_chunks(text, {}):
            stop.check()
            more, less = _land(connection, file, chunk)
            staged, rejected = staged + more, rejected + less
            if more + less != chunk.count:
                raise BooksUnbalanced(
                    f"{file}: {chunk.count} records were read and {more + less} reached "
                    "the warehouse; nothing of the file was kept"
                )
    content.wait(stop)
    return FileCounts(staged, rejected, content.lines == staged + rejected)


@contextmanager
def _one_thread(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Use one thread while there is work for only one: a second would poll without a pause."""
    (threads,) = one_row(connection, "SELECT current_setting('threads')", {})
    connection.execute("SET threads = 1")
    yield
    connection.execute(f"SET threads = {threads}")


@contextmanager
def _beside_chunks(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Lower DuckDB's memory limit, to leave memory for the chunks, which are read outside it."""
    (memory,) = one_row(connection, "SELECT current_setting('memory_limit')", {})
    connection.execute(f"SET memory_limit = '{_BESIDE_CHUNKS}'")
    with _one_thread(connection):
        yield
    connection.execute(f"SET memory_limit = '{memory}'")


def _land(connection: duckdb.DuckDBPyConnection, file: ExportFile, chunk: Chunk) -> tuple[int, int]:
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
        file.unit,
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
        file.unit | {"now": now()},
    )
    return staged, rejected


def _streamed(
    connection: duckdb.DuckDBPyConnection,
    statement: str,
    file: ExportFile,
    content: Content,
    stop: Interruption,
) -> int:
    """Run the INSERT that reads the file. Raises `PageUnreadable` for DuckDB's errors about it."""
    try:
        return inserted(connection, statement, file.unit)
    except (duckdb.InvalidInputException, duckdb.IOException) as error:
        if "No space left" in str(error):
            raise
        # If the other reader finds an error in the file, too, its message is the better one.
        content.wait(stop)
        raise PageUnreadable(f"{file} cannot be read: {str(error).splitlines()[0]}") from error


def _columns(file: ExportFile, names: list[str]) -> str:
    """SQL that selects the schema's fields from the file; the case of its header is ignored.

    Raises `PageUnreadable` if a required column is missing.
    """
    known = {name.strip().lower(): name for name in names}
    missing = [one.name for one in SIGNIN_EVENT.fields if one.required and one.name not in known]
    if missing:
        raise PageUnreadable(
            f"{file} has no column {', '.join(missing)}; its header names {', '.join(names)}"
        )
    return ", ".join(
        '"' + known[name].replace('"', '""') + f'" AS {name}'
        for name in SIGNIN_EVENT.names
        if name in known
    )


def _refuse_lost(file: ExportFile, records: int, delimiter: str, stop: Interruption) -> None:
    """Raise `BooksUnbalanced` if another reader finds more records than were loaded.

    The number of lines does not prove a loss, because values may contain line ends and lines may be
    empty.
    """
    stream = FileStream(path="*", delimiter=delimiter, fields={"external_id": "event_id"})
    with file.text() as text:
        found = 0
        for chunk in csv_file.chunks(text, file.file.name, stream, {}, LIMITS):
            stop.check()
            found += chunk.count
    if found > records:
        raise BooksUnbalanced(
            f"{file} holds {found:,} records and {records:,} were read; nothing of it "
            "was kept. Look for a quote that is not closed"
        )
