"""Read the downloaded file of a job: plain, gzip, zstd or a ZIP.

The sizes that a ZIP states are not trusted: the unpacked bytes are counted.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from elt_assets.connectors.files import csv_file, json_file
from elt_assets.connectors.files.chunk import Chunk
from elt_assets.connectors.files.files_data import FileStream
from elt_assets.connectors.files.text import opened, reading
from elt_assets.connectors.limits import FetchLimits, FileLimits
from elt_assets.errors import PageUnreadable

_CHUNK = 1 << 20
_EXPANDS_FREELY = 32 * 2**20
"""Bytes. A file that unpacks to less may expand by any factor."""
_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_MOST_NAMES = 10_000


def chunks(file: IO[bytes], name: str, stream: FileStream, limits: FetchLimits) -> Iterator[Chunk]:
    """The records of the file. Raises `PageUnreadable`."""
    with (
        reading(name),
        _unzipped(file, name, limits.files) as plain,
        opened(plain, name, stream.encoding, limits.files) as text,
    ):
        match stream.format:
            case "csv":
                yield from csv_file.chunks(text, name, stream, {}, limits.files)
            case "json":
                yield from json_file.document_chunks(text, name, stream, {}, limits)
            case _:
                yield from json_file.line_chunks(text, {})


class _Kept:
    """A context manager for a file, which closes it only if `closes` is set."""

    def __init__(self, file: IO[bytes], *, closes: bool) -> None:
        self._file = file
        self._closes = closes

    def __enter__(self) -> IO[bytes]:
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._closes:
            self._file.close()


def _unzipped(file: IO[bytes], name: str, limits: FileLimits) -> _Kept:
    """The only file in a ZIP; any other file as it is."""
    file.seek(0)
    head = file.read(4)
    file.seek(0)
    if head not in (_ZIP, _EMPTY_ZIP):
        return _Kept(file, closes=False)
    try:
        with zipfile.ZipFile(file) as archive:
            found = [one for one in archive.infolist()[:_MOST_NAMES] if not one.is_dir()]
            if len(found) != 1:
                raise PageUnreadable(f"{name} is a ZIP of {len(found):,} files and not of one")
            if found[0].flag_bits & 1:
                raise PageUnreadable(f"{name} is a ZIP that is encrypted")
            return _Kept(_member(archive, found[0], name, file, limits), closes=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise PageUnreadable(f"{name} is a damaged ZIP ({type(error).__name__})") from None


def _member(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    name: str,
    whole: IO[bytes],
    limits: FileLimits,
) -> IO[bytes]:
    size = whole.seek(0, 2)
    most = min(limits.bytes, max(_EXPANDS_FREELY, limits.expansion * size))
    out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (the reader closes it)
    try:
        with archive.open(member) as inner:
            written = 0
            while piece := inner.read(_CHUNK):
                written += len(piece)
                if written > most:
                    raise PageUnreadable(
                        f"{name} becomes more than {most:,} bytes when it is unpacked "
                        "(ELT_ASSETS_FILE_BYTES, ELT_ASSETS_FILE_EXPANSION)"
                    )
                out.write(piece)
    except BaseException:
        out.close()
        raise
    out.seek(0)
    return out
