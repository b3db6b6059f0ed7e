"""Read a file's bytes as lines of text: compression, encoding, and where each line begins.

The module decompresses gzip and zstd, recognises byte order marks, counts bytes and lines, and
can continue at a given line.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import pyarrow as pa

from elt_assets.connectors.files.chunk import Place
from elt_assets.connectors.limits import FileLimits
from elt_assets.errors import PageUnreadable, ProviderUnavailable

LONGEST_LINE = 2**20

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# UTF-32's marks stand before UTF-16's: the one of UTF-32-LE begins with the one of UTF-16-LE.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BUFFER = 2**20
_EXPANDS_FREELY = 32 * 2**20

Stream: TypeAlias = "io.BufferedReader[Any]"


class DamagedLine(Exception):
    """A line that cannot be decoded or is too long; the message continues "line 5 …"."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file's content: lines in `encoding`, whose line ends are the byte of a line feed."""

    stream: Stream
    encoding: str
    seekable: bool


@contextmanager
def opened(raw: IO[bytes], name: str, encoding: str | None, limits: FileLimits) -> Iterator[Text]:
    """Decompress and decode the file `raw`, called `name` in errors, from its first byte.

    Closes `raw` and the decompressing and decoding streams on it. Reading past a limit raises
    `PageUnreadable`.
    """
    head = raw.read(4)
    raw.seek(0)
    with ExitStack() as streams:
        stream, seekable = _decompressed(raw, head, name, limits)
        streams.callback(stream.close)
        start = stream.peek(4)[:4]
        mark, marked = next(((m, e) for m, e in _MARKS if start.startswith(m)), (b"", None))
        if marked is None and encoding is None and b"\x00" in start:
            raise PageUnreadable(f"{name} is not text; state its format or its encoding")
        chosen = codecs.lookup(encoding or marked or "utf-8").name
        if _one_byte_line_ends(chosen):
            stream.read(len(mark) if marked == "utf-8" else 0)
            yield Text(stream, chosen, seekable)
            return
        recoded: Stream = io.BufferedReader(_Recoded(stream, chosen), _BUFFER)
        streams.callback(recoded.close)
        if recoded.peek(3).startswith(codecs.BOM_UTF8):
            recoded.read(3)
        yield Text(recoded, "utf-8", seekable=False)


def with_line_feeds(text: Text) -> Text:
    """The text with line feeds as line ends, where its lines end with a bare carriage return.

    The first line end decides; in such a text, a line feed is part of a value. Both characters are
    one byte, so that positions do not change.
    """
    head = text.stream.peek(_BUFFER)
    end = head.find(b"\r")
    if end < 0 or head[end : end + 2] == b"\r\n" or b"\n" in head[:end]:
        return text
    stream: Stream = io.BufferedReader(_LineFeeds(text.stream), _BUFFER)
    return Text(stream, text.encoding, text.seekable)


class Lines:
    """The lines of a file, decoded, one at a time.

    `line` is the number of lines read, `offset` the number of bytes, and `raw` the bytes of the
    last line. A line that cannot be decoded or is longer than `LONGEST_LINE` raises `DamagedLine`,
    and the next call continues after it.
    """

    def __init__(self, text: Text, at: Place) -> None:
        self._text = text
        self._readline = text.stream.readline
        self.raw = b""
        self.line = at.get("line", 0)
        self.offset = at.get("offset", 0)
        if not at:
            self.offset = text.stream.tell() if text.seekable else 0
        elif text.seekable:
            text.stream.seek(self.offset)
        else:
            # A compressed file cannot be sought; skipping lines costs decompression only.
            self.line = self.offset = 0
            while self.line < at.get("line", 0):
                self.next_raw()

    @property
    def at(self) -> Place:
        """Where the next line begins."""
        return {"offset": self.offset, "line": self.line}

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        raw = self.next_raw()
        if not raw:
            raise StopIteration
        if len(raw) >= LONGEST_LINE:
            raise DamagedLine(f"is longer than {LONGEST_LINE:,} bytes")
        try:
            return raw.decode(self._text.encoding)
        except UnicodeDecodeError as error:
            raise DamagedLine(
                f"is not {self._text.encoding} at byte {error.start + 1}; "
                "if the file is in another encoding, state it"
            ) from None

    def next_raw(self) -> bytes:
        """The next line's bytes, cut when it is too long; empty at the end."""
        raw = self._readline(LONGEST_LINE)
        self.raw = raw
        self.offset += len(raw)
        self.line += bool(raw)
        if len(raw) == LONGEST_LINE:
            rest = raw
            while rest and not rest.endswith(b"\n"):
                rest = self._readline(LONGEST_LINE)
                self.offset += len(rest)
        return raw


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Translate the errors of the libraries that read the file `name` into ours."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException, UnicodeDecodeError) as error:
        raise PageUnreadable(f"{name} is damaged or cut short ({type(error).__name__})") from None
    except OSError as error:
        if error.errno is None:
            # The zstd reader reports damaged or truncated input without an errno.
            raise PageUnreadable(f"{name} is damaged or cut short") from None
        raise ProviderUnavailable(f"{name} cannot be read ({error.strerror})") from None


def _decompressed(
    raw: IO[bytes], head: bytes, name: str, limits: FileLimits
) -> tuple[Stream, bool]:
    if head.startswith(_GZIP):
        unzipped: Any = gzip.GzipFile(fileobj=raw, mode="rb")
        bounded: Any = _Bounded(unzipped, raw, name, limits)
        return io.BufferedReader(bounded, _BUFFER), False
    if head.startswith(_ZSTD):
        unpacked: Any = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
        bounded = _Bounded(unpacked, raw, name, limits)
        return io.BufferedReader(bounded, _BUFFER), False
    size = os.fstat(raw.fileno()).st_size
    if size > limits.bytes:
        raise _too_large(name, size, limits)
    plain: Any = raw
    return io.BufferedReader(plain, _BUFFER), True


def _too_large(name: str, size: int, limits: FileLimits) -> PageUnreadable:
    return PageUnreadable(
        f"{name} has {size:,} bytes or more, decompressed; the limit is {limits.bytes:,} "
        "(ELT_ASSETS_FILE_BYTES)"
    )


class _Bounded(io.RawIOBase):
    """A decompressed stream that raises `PageUnreadable` when it exceeds the limits."""

    def __init__(
        self, stream: Stream, compressed: IO[bytes], name: str, limits: FileLimits
    ) -> None:
        self._stream = stream
        self._compressed = compressed
        self._name = name
        self._limits = limits
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        buffer[: len(piece)] = piece
        self._size += len(piece)
        if self._size > self._limits.bytes:
            raise _too_large(self._name, self._size, self._limits)
        most = self._limits.expansion * self._compressed.tell()
        if self._size > max(_EXPANDS_FREELY, most):
            raise PageUnreadable(
                f"{self._name} becomes more than {self._limits.expansion:,} times as large when "
                f"it is decompressed ({self._size:,} bytes so far); that is the limit "
                "(ELT_ASSETS_FILE_EXPANSION)"
            )
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class _LineFeeds(io.RawIOBase):
    """A stream with a line feed for each carriage return. Closing it leaves the stream open."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read1(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(piece)] = piece
        return len(piece)


def _one_byte_line_ends(encoding: str) -> bool:
    try:
        return "a\n".encode(encoding) == b"a\n" and not encoding.startswith(("iso2022", "utf-7"))
    except UnicodeEncodeError:
        return False


class _Recoded(io.RawIOBase):
    """A stream in another encoding, recoded to UTF-8."""

    def __init__(self, stream: Stream, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = self._stream.read(_BUFFER)
            self._left = self._decoder.decode(chunk, final=not chunk).encode()
            if not chunk:
                break
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
