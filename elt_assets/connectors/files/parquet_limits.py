"""Limits on the memory for reading a Parquet file, checked before any value is decoded.

They bound the footer, the columns, their nesting, and the size of a row group and of its pages.

The footer is not trusted: it may state any size. A page's own header is: the reader allocates the
size that it states, and refuses the page if it decompresses to another size. So the headers of all
pages are read first, without decompressing anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, Any

import pyarrow.parquet as pq

from elt_assets.connectors.files.thrift import (
    I32,
    LIST,
    STRUCT,
    Fields,
    Malformed,
    ThriftReader,
    Truncated,
)
from elt_assets.connectors.limits import FileLimits
from elt_assets.errors import PageUnreadable

_FOOTER = 16 * 2**20
_HEADER, _LONGEST_HEADER = 2**14, 2**20
_NESTED_VALUE = 16
"""Fewest bytes that a value of a list takes while its row is assembled."""

_DICTIONARY_PAGE = 2
_UNBOUNDED = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}
"""Encodings in which a small page can stand for any amount of text."""


def check_footer(raw: IO[bytes], name: str, limits: FileLimits) -> None:
    """Raise `PageUnreadable` for a footer, columns or nesting beyond the limits."""
    end = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    tail = os.pread(raw.fileno(), 8, max(end - 8, 0))
    size = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != b"PAR1" or size > end - 12:
        raise PageUnreadable(f"{name} is damaged or cut short (no Parquet footer at its end)")
    if size > _FOOTER:
        raise PageUnreadable(
            f"{name} has a footer of {size:,} bytes; at most {_FOOTER:,} are read: "
            "write larger row groups or fewer columns"
        )
    try:
        footer = ThriftReader(os.pread(raw.fileno(), size, end - 8 - size), most=100_000)
        depth, columns = _shape(_field(footer.struct(only=2), 2, LIST))
    except (Truncated, Malformed) as error:
        raise PageUnreadable(f"{name} has a footer that cannot be read ({error})") from None
    if columns > limits.columns:
        raise PageUnreadable(
            f"{name} has {columns:,} columns; the limit is {limits.columns:,} "
            "(ELT_ASSETS_FILE_COLUMNS)"
        )
    if depth > limits.depth:
        raise PageUnreadable(
            f"{name} has columns nested {depth:,} deep; the limit is {limits.depth:,} "
            "(ELT_ASSETS_FILE_DEPTH)"
        )


def check_group(
    raw: IO[bytes], name: str, file: pq.ParquetFile, group: int, limits: FileLimits
) -> None:
    """Raise `PageUnreadable` if reading the row group could take more memory than is allowed."""
    metadata = file.metadata.row_group(group)
    where = f"{name}: row group {group + 1:,}"
    chunks = [metadata.column(index) for index in range(metadata.num_columns)]
    _check_group_size(where, sum(max(0, chunk.total_uncompressed_size) for chunk in chunks), limits)
    decompressed = at_once = 0
    for index, chunk in enumerate(chunks):
        leaf = file.schema.column(index)
        try:
            pages = _pages(raw.fileno(), chunk)
        except (Truncated, Malformed) as error:
            raise PageUnreadable(
                f"{where} has a page in column {chunk.path_in_schema!r} whose header cannot be "
                f"read ({error})"
            ) from None
        if pages.encoding is not None:
            raise PageUnreadable(
                f"{where} has column {chunk.path_in_schema!r} encoded as {pages.encoding}, whose "
                "size is not known before it is decoded; write it with PLAIN or dictionary "
                "encoding"
            )
        decompressed += pages.decompressed
        at_once += pages.dictionary + pages.largest
        if leaf.max_repetition_level > 0:
            at_once += max(pages.values, chunk.num_values) * max(_NESTED_VALUE, leaf.length or 0)
    _check_group_size(where, decompressed, limits)
    if at_once > limits.open_bytes:
        raise PageUnreadable(
            f"{where} has pages and lists that take {at_once:,} bytes at once; the limit is "
            f"{limits.open_bytes:,} (ELT_ASSETS_PARQUET_OPEN_BYTES): write smaller row groups or "
            "pages"
        )


def _check_group_size(where: str, size: int, limits: FileLimits) -> None:
    if size > limits.group_bytes:
        raise PageUnreadable(
            f"{where} has {size:,} bytes, decompressed; the limit is {limits.group_bytes:,} "
            "(ELT_ASSETS_PARQUET_GROUP_BYTES): write smaller row groups"
        )


@dataclass(slots=True)
class _Pages:
    decompressed: int = 0
    dictionary: int = 0
    largest: int = 0
    values: int = 0
    encoding: str | None = None


def _pages(descriptor: int, chunk: pq.ColumnChunkMetaData) -> _Pages:
    position = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < position:
        position = chunk.dictionary_page_offset
    end = position + chunk.total_compressed_size
    found = _Pages()
    while position < end:
        header, length = _header(descriptor, position)
        size, compressed = _field(header, 2, I32), _field(header, 3, I32)
        if not 0 <= size < 2**31 or not 0 <= compressed < 2**31:
            raise Malformed("a size is negative or too large")
        found.decompressed += size
        if _field(header, 1, I32) == _DICTIONARY_PAGE:
            found.dictionary = max(found.dictionary, size)
        else:
            found.largest = max(found.largest, size)
        for number, place in ((5, 2), (8, 4)):
            if number in header:
                data = _field(header, number, STRUCT)
                found.values += max(0, _field(data, 1, I32))
                encoding = _field(data, place, I32)
                found.encoding = found.encoding or _UNBOUNDED.get(encoding)
        position += length + compressed
    return found


def _header(descriptor: int, position: int) -> tuple[Fields, int]:
    size = _HEADER
    while True:
        reader = ThriftReader(os.pread(descriptor, size, position))
        try:
            return reader.struct(), reader.position
        except Truncated:
            if size >= _LONGEST_HEADER:
                raise Malformed("it does not end") from None
            size *= 8


def _shape(elements: list[Fields]) -> tuple[int, int]:
    """Return how deep the columns of a schema are nested, and the number of columns."""
    deepest = columns = 0
    awaited: list[int] = []
    for element in elements:
        children = _field(element, 5, I32) if 5 in element else 0
        deepest = max(deepest, len(awaited))
        columns += children == 0
        if awaited:
            awaited[-1] -= 1
        awaited.append(children)
        while awaited and awaited[-1] <= 0:
            awaited.pop()
    return deepest, columns


def _field(fields: Fields, number: int, kind: int) -> Any:
    if number not in fields:
        raise Malformed(f"field {number} is missing")
    found, value = fields[number]
    if found != kind:
        raise Malformed(f"field {number} has another type")
    return value
