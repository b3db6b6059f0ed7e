"""JSON in chunks: one record per line (JSON Lines), or a list somewhere in one document.

The module finds where records begin and end without holding the file in memory. A marker replaces a
record that no JSON parser accepts. Compression and encodings are handled in `text`.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from typing import IO, cast

import msgspec

from elt_assets.connectors.files.chunk import (
    BYTES,
    RECORDS,
    Chunk,
    Place,
)
from elt_assets.connectors.files.files_data import FileStream
from elt_assets.connectors.files.text import Lines, Text
from elt_assets.connectors.json import json_scan
from elt_assets.connectors.json.record_list import sound_list
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expression_parser import parse_keys
from elt_assets.connectors.mapping.expressions import written
from elt_assets.errors import PageUnreadable

_COPIED = 2**20


def line_chunks(text: Text, at: Place) -> Iterator[Chunk]:
    """The records of a JSON Lines file after `at`; empty lines are skipped."""
    lines = Lines(text, at)
    utf8 = text.encoding == "utf-8"
    found: list[tuple[int, bytes]] = []
    began = lines.offset
    while raw := lines.next_raw():
        if not raw.isspace():
            found.append((lines.line, raw if utf8 else _recoded(raw, text.encoding)))
        if len(found) >= RECORDS or lines.offset - began >= BYTES:
            yield _line_chunk(found, lines.at)
            found = []
            began = lines.offset
    if found:
        yield _line_chunk(found, lines.at)


def document_chunks(
    text: Text, name: str, stream: FileStream, at: Place, limits: FetchLimits
) -> Iterator[Chunk]:
    """The records of the list at `stream.records` after `at`.

    Raises `PageUnreadable` when there is no such list or the document is incomplete.
    """
    with _mapped(text, name, limits.files.spill_bytes) as mapping:
        try:
            # Regular expressions and slices accept a mapping like bytes.
            content = cast("bytes", mapping)
            yield from _elements(content, name, parse_keys(stream.records), at, limits.page_bytes)
        except json_scan.NotBalanced as error:
            raise PageUnreadable(f"{name} is not one whole JSON document ({error})") from None


def _line_chunk(found: list[tuple[int, bytes]], after: Place) -> Chunk:
    body = sound_list([raw for _, raw in found], lambda at: f"line {found[at][0]:,}")
    return Chunk(body, len(found), after)


def _elements(
    content: bytes, name: str, keys: tuple[str, ...], at: Place, most: int
) -> Iterator[Chunk]:
    position, number = (at["offset"], at["record"]) if at else (_list(content, name, keys), 0)
    records: list[bytes] = []
    size = 0
    position = json_scan.skip_space(content, position)
    if content[position : position + 1] == b"]":
        _check_end(content, name, keys, position + 1)
        return
    ended = False
    while not ended:
        end = json_scan.skip_value(content, position)
        if end - position > most:
            raise PageUnreadable(
                f"{name}: record {number + len(records) + 1:,} has {end - position:,} bytes; "
                f"the limit is {most:,} (ELT_ASSETS_PAGE_BYTES)"
            )
        records.append(content[position:end])
        size += end - position
        position = json_scan.skip_space(content, end)
        separator = content[position : position + 1]
        if separator not in (b",", b"]"):
            raise json_scan.NotBalanced("the list is not closed")
        ended = separator == b"]"
        position = json_scan.skip_space(content, position + 1)
        if len(records) >= RECORDS or size >= BYTES or ended:
            if ended:
                # Checked before the last records are yielded: a truncated file is no listing.
                _check_end(content, name, keys, position)
            after = {"offset": position, "record": number + len(records)}
            yield _element_chunk(records, number, after)
            number += len(records)
            records, size = [], 0


def _element_chunk(records: list[bytes], before: int, after: Place) -> Chunk:
    body = sound_list(records, lambda at: f"record {before + at + 1:,}")
    return Chunk(body, len(records), after)


def _list(content: bytes, name: str, keys: tuple[str, ...]) -> int:
    """The position after the list's opening bracket."""
    position = json_scan.skip_space(content, 0)
    for depth, key in enumerate(keys, start=1):
        if content[position : position + 1] != b"{":
            raise _no_list(name, keys[: depth - 1], "no object", keys)
        position = _member(content, position + 1, key)
        if position < 0:
            raise _no_list(name, keys[:depth], "nothing", keys)
    if content[position : position + 1] != b"[":
        raise _no_list(name, keys, "something else", keys)
    return position + 1


def _member(content: bytes, position: int, key: str) -> int:
    """The position of the value of `key` in the object that opens before `position`, or -1."""
    position = json_scan.skip_space(content, position)
    while content[position : position + 1] not in (b"}", b""):
        end = json_scan.skip_value(content, position)
        label = content[position:end]
        position = _behind(content, end, b":")
        if _spelled(label) == key:
            return position
        position = json_scan.skip_value(content, position)
        position = json_scan.skip_space(content, position)
        if content[position : position + 1] != b"}":
            position = _behind(content, position, b",")
    return -1


def _check_end(content: bytes, name: str, keys: tuple[str, ...], position: int) -> None:
    """Check that the list occurs once and that nothing follows the end of the document."""
    for key in reversed(keys):
        position = json_scan.skip_space(content, position)
        if content[position : position + 1] == b",":
            again = position + 1
            if _member(content, again, key) >= 0:
                raise PageUnreadable(f"{name} has {written(keys)!r} twice")
            position = _object_end(content, again)
        elif content[position : position + 1] != b"}":
            raise json_scan.NotBalanced("an object is not closed")
        position += 1
    if json_scan.skip_space(content, position) != len(content):
        raise json_scan.NotBalanced("something follows its end")


def _object_end(content: bytes, position: int) -> int:
    position = json_scan.skip_space(content, position)
    while content[position : position + 1] != b"}":
        position = _behind(content, json_scan.skip_value(content, position), b":")
        position = json_scan.skip_value(content, position)
        position = json_scan.skip_space(content, position)
        if content[position : position + 1] == b",":
            position = json_scan.skip_space(content, position + 1)
    return position


def _behind(content: bytes, position: int, mark: bytes) -> int:
    position = json_scan.skip_space(content, position)
    if content[position : position + 1] != mark:
        raise json_scan.NotBalanced(f"no {mark.decode()!r} where one must be")
    return json_scan.skip_space(content, position + 1)


def _spelled(label: bytes) -> str | None:
    try:
        return msgspec.json.decode(label, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _no_list(
    name: str, keys: tuple[str, ...], found: str, wanted: tuple[str, ...]
) -> PageUnreadable:
    place = f"at {written(keys)!r}" if keys else "at its top"
    sought = f"a list at {written(wanted)!r}" if wanted else "a list at its top"
    return PageUnreadable(
        f"{name} does not have {sought} (found {found} {place}); fix records in provider_data"
    )


def _recoded(raw: bytes, encoding: str) -> bytes:
    try:
        return raw.decode(encoding).encode()
    except UnicodeDecodeError:
        # The line stays as it is. It is no JSON either and is rejected with its number.
        return raw


def _mapped(text: Text, name: str, most: int) -> mmap.mmap:
    """The document as a memory mapping, so that its size does not matter.

    A document that is compressed or not UTF-8 is first written to a temporary file of `most` bytes.
    """
    if text.seekable and text.encoding == "utf-8":
        return _map(text.stream, name)
    with tempfile.TemporaryFile() as spool:
        while piece := text.stream.read(_COPIED):
            if spool.tell() + len(piece) > most:
                raise PageUnreadable(
                    f"{name} is one JSON document of more than {most:,} bytes, the most that is "
                    "decompressed into a temporary file (ELT_ASSETS_FILE_SPILL_BYTES); JSON Lines "
                    "needs none"
                )
            spool.write(piece if text.encoding == "utf-8" else _recoded(piece, text.encoding))
        spool.flush()
        # The mapping outlives the descriptor; closing the mapping frees the disk space.
        return _map(spool, name)


def _map(stream: IO[bytes], name: str) -> mmap.mmap:
    try:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise PageUnreadable(f"{name} is empty") from None
