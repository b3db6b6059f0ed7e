"""CSV in chunks: one record per row, named by the header, damaged rows by line number.

What precedes the records is read in `csv_layout`; compression and encodings are handled in `text`.

A row with more or fewer values than the header is unreadable, and its values are not guessed: one
misplaced comma puts every later value under the wrong name. An empty value is null, since CSV
cannot distinguish empty from null. A row of only empty values or spaces is not a record.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator

from elt_assets.connectors.files.chunk import BYTES, RECORDS, Chunk, Place, encoded, unreadable
from elt_assets.connectors.files.csv_layout import RowLines, layout
from elt_assets.connectors.files.files_data import FileStream
from elt_assets.connectors.files.text import DamagedLine, Lines, Text, with_line_feeds
from elt_assets.connectors.limits import FileLimits
from elt_assets.connectors.mapping.evaluate import holds
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import Expression, names_used

_VALUE = 32
"""Approximate bytes that a value takes in addition to its name and content."""
_WITH_COMMA = re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+")


def chunks(
    text: Text, name: str, stream: FileStream, at: Place, limits: FileLimits
) -> Iterator[Chunk]:
    """The file's rows after `at`. Raises `PageUnreadable` for a header that cannot be used."""
    text = with_line_feeds(text)
    lines = Lines(text, {})
    began = lines.at
    found = layout(lines, name, stream, _used(stream), limits.columns)
    first = found.first
    if at:
        # The header was read from the start of the file. A compressed stream cannot seek to `at`,
        # so the lines before `at` are read again and skipped.
        first, began = None, at
        lines = Lines(text, at) if text.seekable else _skipped(lines, at)
    elif first is None:
        began = lines.at
    bounded = RowLines(lines, name, first)
    rows = csv.reader(bounded, delimiter=found.delimiter, quotechar=stream.quote, strict=True)
    records = _Records(stream, found.names)
    # The latest `skip_last` rows are held back: they may be the last rows, which are no records.
    held: list[object] = []
    ends: list[Place] = []
    start, offset = began["line"] + 1, began["offset"]
    if first is not None:
        start = lines.line
    while True:
        bounded.began = lines.offset
        try:
            record = records.of(next(rows), _where(start, lines.line), lines.raw)
        except StopIteration:
            break
        except (csv.Error, DamagedLine) as error:
            between = " " if isinstance(error, DamagedLine) else ": "
            record = unreadable(f"{_where(start, lines.line)}{between}{error}", lines.raw)
        start = lines.line + 1
        if record is not None:
            held.append(record)
            ends.append(lines.at)
        ready = len(held) - stream.skip_last
        size = lines.offset - offset + len(held) * records.row_bytes
        if ready > 0 and (ready >= RECORDS or size >= BYTES):
            yield Chunk(encoded(held[:ready]), ready, ends[ready - 1])
            held, ends = held[ready:], ends[ready:]
            offset = lines.offset
    ready = len(held) - stream.skip_last
    if ready > 0:
        yield Chunk(encoded(held[:ready]), ready, lines.at)


class _Records:
    """Makes records of rows."""

    def __init__(self, stream: FileStream, names: list[str | None]) -> None:
        self._names = names
        self._kept = [(place, name) for place, name in enumerate(names) if name is not None]
        self._where: Expression | None = None if stream.where is None else parse(stream.where)
        self._with_comma = stream.decimal == ","
        self.row_bytes = sum(len(name) + _VALUE for _, name in self._kept)
        """Bytes a row adds as a record, about: it repeats the names of all columns."""

    def of(self, row: list[str], where: str, raw: bytes) -> object | None:
        """The row's record, or the marker of an unreadable one; None if the row is no record."""
        if not any(map(str.strip, row)):
            return None
        if self._with_comma:
            row = [_with_point(value) for value in row]
        width = len(self._names)
        if len(row) != width:
            short: list[str | None] = [*row[:width], *([None] * (width - len(row)))]
            if self._where is not None and not holds(self._where, self._named(short)):
                return None
            return unreadable(f"{where} has {len(row)} values, not {width}", raw)
        record = self._named(row)
        return None if self._where is not None and not holds(self._where, record) else record

    def _named(self, row: list[str] | list[str | None]) -> dict[str, str | None]:
        return {name: row[place] or None for place, name in self._kept}


def _used(stream: FileStream) -> Collection[str]:
    """Names of the columns that the fields or the row filter use."""
    texts = [*stream.fields.values(), *([] if stream.where is None else [stream.where])]
    return {name for text in texts for name in names_used(parse(text))}


def _with_point(value: str) -> str:
    if not _WITH_COMMA.fullmatch(value.strip()):
        return value
    return value.strip().replace(".", "").replace(",", ".")


def _skipped(lines: Lines, at: Place) -> Lines:
    while lines.line < at["line"] and lines.next_raw():
        pass
    return lines


def _where(first: int, last: int) -> str:
    return f"line {first:,}" if last <= first else f"lines {first:,} to {last:,}"
