"""The layout of a CSV file: the lines before its records, its delimiter and its column names.

The records are read in `csv_file`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from elt_assets.connectors.files.files_data import FileStream
from elt_assets.connectors.files.text import DamagedLine, Lines
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import names_used
from elt_assets.errors import PageUnreadable

_DELIMITERS = "\t|;,"
"""Delimiters to guess from, the rarest in ordinary text first: it wins where all else is equal."""
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""A first line by which Excel states the delimiter."""


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """The delimiter, and the name of each column; None for a column that records do not use.

    `first` is a line that was already read and belongs to the first record.
    """

    delimiter: str
    names: list[str | None]
    first: str | DamagedLine | None = None


def layout(
    lines: Lines, name: str, stream: FileStream, used: Collection[str], most: int
) -> CsvLayout:
    """Read the lines before the records of the file `name`.

    Only columns in `used` must have unique names. Raises `PageUnreadable` for a header that
    cannot be used or has more than `most` columns.
    """
    first, separator = _after_separator(lines)
    for _ in range(stream.skip_rows):
        first = _line(lines)
    # A row without values is neither a record nor a header.
    while isinstance(first, str) and _is_nothing(first, stream.quote, stream.delimiter):
        first = _line(lines)
    stated = stream.delimiter or separator
    if stream.columns is not None:
        text = first if isinstance(first, str) else ""
        delimiter = stated or guessed(text, stream.quote, width=len(stream.columns))
        _check_filter(name, stream, stream.columns)
        return CsvLayout(delimiter, list(stream.columns), first)
    delimiter, names = _header(lines, first, name, stated, stream.quote, most, used)
    twice = sorted({each for each in names if names.count(each) > 1})
    if both := [each for each in twice if each in used]:
        raise PageUnreadable(f"{name} has a header that names {', '.join(both)} twice")
    _check_filter(name, stream, names)
    return CsvLayout(delimiter, [each if each and each not in twice else None for each in names])


def _check_filter(name: str, stream: FileStream, names: Collection[str]) -> None:
    """Raise `PageUnreadable` for a row filter that uses a column which the file does not have."""
    lacking = set() if stream.where is None else names_used(parse(stream.where)) - {*names}
    if lacking:
        raise PageUnreadable(
            f"{name} has no column {', '.join(sorted(lacking))}; correct where in provider_data"
        )


def header(lines: Lines, name: str, *, most: int) -> tuple[str, list[str]]:
    """The delimiter and the columns' names, none of them empty or repeated.

    Raises `PageUnreadable` when the header cannot be used or has more than `most` columns.
    """
    delimiter, names = _header(lines, _line(lines), name, None, '"', most)
    if "" in names:
        raise PageUnreadable(f"{name} has a header without a name for column {names.index('') + 1}")
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise PageUnreadable(f"{name} has a header that names {', '.join(twice)} twice")
    return delimiter, names


def guessed(line: str, quote: str, used: Collection[str] = (), *, width: int | None = None) -> str:
    """Guess the delimiter of a line; a comma if no delimiter splits it.

    The criteria, in this order: it finds the most names in `used`, gives `width` values, leaves
    no stray quote, and gives the most values.
    """

    def row(delimiter: str, strict: bool) -> list[str]:
        try:
            reader = csv.reader([line], delimiter=delimiter, quotechar=quote, strict=strict)
            return next(reader, [])
        except csv.Error:
            return []

    def rank(delimiter: str) -> tuple[int, bool, bool, int]:
        found = row(delimiter, strict=False)
        known = sum(value.strip() in used for value in found)
        return known, len(found) == width, bool(row(delimiter, strict=True)), len(found)

    best = max(_DELIMITERS, key=rank)
    return best if rank(best)[-1] > 1 else ","


def _after_separator(lines: Lines) -> tuple[str | DamagedLine | None, str | None]:
    first = _line(lines)
    found = _SEPARATOR.fullmatch(first) if isinstance(first, str) else None
    return (first, None) if found is None else (_line(lines), found[1])


def _is_nothing(line: str, quote: str, delimiter: str | None) -> bool:
    """Whether a line is a row without a value. If it leaves a quote open, the row continues."""
    marks = {*_DELIMITERS, quote, delimiter}
    return line.count(quote) % 2 == 0 and all(each.isspace() or each in marks for each in line)


def _line(lines: Lines) -> str | DamagedLine | None:
    try:
        return next(lines, None)
    except DamagedLine as damage:
        return damage


def _header(
    lines: Lines,
    first: str | DamagedLine | None,
    name: str,
    delimiter: str | None,
    quote: str,
    most: int,
    used: Collection[str] = (),
) -> tuple[str, list[str]]:
    if first is None or (isinstance(first, str) and not first.strip()):
        raise PageUnreadable(f"{name} has no header in its first line")
    try:
        if isinstance(first, DamagedLine):
            raise first
        delimiter = delimiter or guessed(first, quote, used)
        # A header may also span several lines, if its names are quoted.
        again = RowLines(lines, name, first)
        row = next(csv.reader(again, delimiter=delimiter, quotechar=quote, strict=True))
    except (csv.Error, DamagedLine) as error:
        raise PageUnreadable(f"{name} has a header that cannot be read: {error}") from None
    if len(row) > most:
        raise PageUnreadable(
            f"{name} has {len(row):,} columns; the limit is {most:,} (ELT_ASSETS_FILE_COLUMNS)"
        )
    return delimiter, [value.strip().removeprefix("\ufeff") for value in row]


LONGEST_ROW = 8 * 2**20
"""Most bytes of one row, over all of its lines."""


class RowLines:
    """Lines for a CSV reader, `first` before the others; refuses a row beyond `LONGEST_ROW`.

    The caller sets `began` to the offset at which each row begins.
    """

    def __init__(self, lines: Lines, name: str, first: str | DamagedLine | None = None) -> None:
        self._lines = lines
        self._name = name
        self._first = first
        self.began = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        first, self._first = self._first, None
        if isinstance(first, DamagedLine):
            raise first
        if first is not None:
            return first
        if self._lines.offset - self.began > LONGEST_ROW:
            raise PageUnreadable(
                f"{self._name}: the row that ends at line {self._lines.line:,} or later has more "
                f"than {LONGEST_ROW:,} bytes, the most that a row may ever have; most likely a "
                "quote is not closed"
            )
        return next(self._lines)
