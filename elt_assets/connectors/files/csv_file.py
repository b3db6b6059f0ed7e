"""CSV in chunks: a record a row, named by the header, every damaged line by its number.

Belongs here: the header, rows as JSON objects, and what makes a row unreadable. Does not:
compression and encodings (text).

A row whose number of values is not the header's is not guessed at: one misplaced comma
puts every later value under the wrong name. An empty value is null, since CSV cannot say
which of the two was meant.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator

from elt_assets.connectors.files.chunk import BYTES, RECORDS, Chunk, Place, encoded, unreadable
from elt_assets.connectors.files.files_data import FileStream
from elt_assets.connectors.files.text import DamagedLine, Lines, Text
from elt_assets.connectors.limits import FileLimits
from elt_assets.errors import PageUnreadable

LONGEST_ROW = BYTES
"""Bytes of one row, over however many lines it goes."""

_DELIMITERS = ",;\t|"
_VALUE = 32
"""Bytes that a value takes besides its name and content, about."""


def chunks(
    text: Text, name: str, stream: FileStream, at: Place, limits: FileLimits
) -> Iterator[Chunk]:
    """The file's rows behind `at`. Raises `PageUnreadable` for a header that cannot be used."""
    lines = Lines(text, {})
    if stream.columns is not None:
        delimiter, names = stream.delimiter or ",", list(stream.columns)
    else:
        delimiter, names = header(
            lines,
            name,
            delimiter=stream.delimiter,
            quote=stream.quote,
            most=limits.columns,
        )
    if at:
        # Where the header is, nothing can be sought in a stream; it is then read again.
        lines = Lines(text, at) if text.seekable else _skipped(lines, at)
    width = len(names)
    bounded = _Rows(lines, name)
    rows = csv.reader(bounded, delimiter=delimiter, quotechar=stream.quote, strict=True)
    # A record repeats the names, so that a short row of many columns is a large one.
    row_bytes = sum(len(each) + _VALUE for each in names)
    records: list[object] = []
    start, began = lines.line + 1, lines.offset
    while True:
        bounded.began = lines.offset
        try:
            row = next(rows)
            if len(row) == width:
                records.append({key: value or None for key, value in zip(names, row, strict=True)})
            elif row:
                records.append(
                    unreadable(
                        f"{_where(start, lines.line)} has {len(row)} values, not {width}",
                        lines.raw,
                    )
                )
        except StopIteration:
            break
        except (csv.Error, DamagedLine) as error:
            between = " " if isinstance(error, DamagedLine) else ": "
            records.append(unreadable(f"{_where(start, lines.line)}{between}{error}", lines.raw))
        start = lines.line + 1
        if len(records) >= RECORDS or lines.offset - began + len(records) * row_bytes >= BYTES:
            yield Chunk(encoded(records), len(records), lines.at)
            records = []
            began = lines.offset
    if records:
        yield Chunk(encoded(records), len(records), lines.at)


def header(
    lines: Lines, name: str, *, delimiter: str | None = None, quote: str = '"', most: int
) -> tuple[str, list[str]]:
    """The delimiter, guessed unless given, and the columns' names in the first record of the
    file `name`. Raises `PageUnreadable` when it cannot be used or names more than `most`.
    """
    try:
        first = next(lines, "")
        if not first.strip():
            raise PageUnreadable(f"{name} has no header in its first line")
        delimiter = delimiter or max(_DELIMITERS, key=first.count)
        # A header may go over several lines, too, if its names are quoted.
        again = _Rest(first, _Rows(lines, name))
        row = next(csv.reader(again, delimiter=delimiter, quotechar=quote, strict=True))
    except (csv.Error, DamagedLine) as error:
        raise PageUnreadable(f"{name} has a header that cannot be read: {error}") from None
    if len(row) > most:
        raise PageUnreadable(
            f"{name} has {len(row):,} columns; the limit is {most:,} (ELT_ASSETS_FILE_COLUMNS)"
        )
    names = [value.strip() for value in row]
    if "" in names:
        raise PageUnreadable(f"{name} has a header without a name for column {names.index('') + 1}")
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise PageUnreadable(f"{name} has a header that names {', '.join(twice)} twice")
    return delimiter, names


def _skipped(lines: Lines, at: Place) -> Lines:
    while lines.line < at["line"] and lines.next_raw():
        pass
    return lines


def _where(first: int, last: int) -> str:
    return f"line {first:,}" if last <= first else f"lines {first:,} to {last:,}"


class _Rows:
    """Lines for a reader of rows, until one row has too many of them."""

    def __init__(self, lines: Lines, name: str) -> None:
        self._lines = lines
        self._name = name
        self.began = 0

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> str:
        if self._lines.offset - self.began > LONGEST_ROW:
            raise PageUnreadable(
                f"{self._name}: the row that ends at line {self._lines.line:,} or later has more "
                f"than {LONGEST_ROW:,} bytes, the limit of one row; most likely a quote is not "
                "closed"
            )
        return next(self._lines)


class _Rest:
    """`first`, then the lines behind it."""

    def __init__(self, first: str, lines: _Rows) -> None:
        self._first: str | None = first
        self._lines = lines

    def __iter__(self) -> _Rest:
        return self

    def __next__(self) -> str:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._lines)
