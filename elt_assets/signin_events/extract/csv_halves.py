"""Split a large CSV file into two halves, so that two threads read it in the order of its lines.

DuckDB can keep the order of a file's lines, but then two of its threads wait for each other unless
they have several times the memory that we allow. Reading two halves, each by one thread, takes the
memory of two threads and keeps the order within each half.

A line end near the middle probably ends a record, but it may be inside quotes. It certainly ends a
record if every line of the first half turns out to be one record.
"""

from __future__ import annotations

import csv
import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from elt_assets.signin_events.extract.export_file import ExportFile
from elt_assets.signin_events.extract.file_content import Content

WORTH_IT = 64 * 2**20
"""Size in bytes from which a file is read in halves; below it, that saves at most a second."""

_WINDOW = 2**16
_LIKELY = 20  # lines after a cut that have to look like records
_PIECE = 2**20


@dataclass(slots=True)
class Part:
    """A part of a file: the bytes from `begin` to before `end`."""

    begin: int
    end: int
    source: str = ""
    """The path from which DuckDB reads the part."""


def likely_cut(file: ExportFile, delimiter: str, width: int) -> int | None:
    """The place after the first line end from the middle on, if a record probably begins there.

    A record has `width` values. None if the file must be read as one, because it is small or
    compressed or has no such place.
    """
    if file.is_compressed or file.file.size < WORTH_IT:
        return None
    with file.raw() as raw:
        raw.seek(file.middle)
        window = raw.read(_WINDOW)
    first, *lines = window.split(b"\n")[:-1] or [b""]
    if not lines:
        return None
    for line in lines[:_LIKELY]:
        if line.count(b'"') % 2 != 0 or _width(line, delimiter) != width:
            return None
    return file.middle + len(first) + 1


@contextmanager
def in_parts(
    file: ExportFile, above: int, cut: int, content: Content
) -> Iterator[tuple[Part, Part]]:
    """Provide both halves, without the first `above` lines, each through a pipe.

    Threads fill the pipes while the block runs. Raises `OSError` if reading the file fails.
    """
    parts = Part(_behind(file, above), cut), Part(cut, file.file.size)
    failures: list[OSError] = []

    def fill(part: Part, target: int) -> None:
        try:
            with file.path.open("rb", buffering=0) as raw, os.fdopen(target, "wb", 0) as pipe:
                _hand_over(part, raw.fileno(), pipe.fileno(), content)
        except BrokenPipeError:
            return  # the reader has ended, for a reason of its own
        except OSError as error:
            failures.append(error)

    sources, threads = [], []
    for part in parts:
        source, target = os.pipe()
        part.source = f"/dev/fd/{source}"
        sources.append(source)
        threads.append(threading.Thread(target=fill, args=(part, target), daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield parts
    finally:
        for source in sources:
            os.close(source)
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def _hand_over(part: Part, source: int, target: int, content: Content) -> None:
    at = part.begin
    while at < part.end and (moved := _moved(source, target, min(_PIECE, part.end - at), at)):
        at += moved
        content.handed_over(moved)


def _moved(source: int, target: int, size: int, at: int) -> int:
    """Write up to `size` bytes from place `at` of the file to the pipe; return how many."""
    if sys.platform == "linux":
        try:
            # The kernel passes the pages of the file to the pipe without copying them.
            return os.splice(source, target, size, offset_src=at)
        except OSError as error:
            # Not every file system supports splice.
            if error.errno != errno.EINVAL:
                raise
    return os.write(target, os.pread(source, size, at))


def _behind(file: ExportFile, lines: int) -> int:
    """The place in bytes at which the first `lines` lines end."""
    with file.path.open("rb") as raw:
        return sum(len(raw.readline()) for _ in range(lines))


def _width(line: bytes, delimiter: str) -> int:
    try:
        (values,) = csv.reader([line.decode().rstrip("\r")], delimiter=delimiter, strict=True)
    except (csv.Error, UnicodeDecodeError, ValueError):
        return 0
    return len(values)
