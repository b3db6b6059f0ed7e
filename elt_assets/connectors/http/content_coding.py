"""Interpret the `Content-Encoding` of an answer, and decompress its body within a limit.

Requests accept gzip only. Servers nevertheless send deflate, write a character set into the header,
or state gzip for a body that is not compressed.
"""

from __future__ import annotations

import zlib

_NONE = frozenset({"", "identity", "none", "binary", "7bit", "8bit", "chunked"})
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)


def inflating(header: str) -> Inflating | None:
    """The decompression for a `Content-Encoding`; None if the body is not compressed.

    Raises `LookupError` with the name of a coding that is not supported.
    """
    names = [name.strip().lower() for name in header.split(",")]
    left = [name for name in names if name not in _NONE and not _is_charset(name)]
    if not left:
        return None
    if len(left) > 1 or left[0] not in (*_GZIP, *_DEFLATE):
        raise LookupError(", ".join(left))
    return Inflating(gzip=left[0] in _GZIP)


class Inflating:
    """Decompression with a limit for each call, so that a small body cannot fill the memory."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._begun = False
        self._window: int | None = None
        self._member = zlib.decompressobj(wbits=31)

    @property
    def finished(self) -> bool:
        """Whether the compressed data is complete: its last gzip member or block has ended."""
        return self._window is None or self._member.eof

    def feed(self, data: bytes, most: int) -> bytes:
        """Decompress `data` to at most `most` bytes; what exceeds them is dropped.

        Raises `zlib.error` for damaged data.
        """
        if not self._begun:
            self._begun = True
            self._window = self._window_of(data[0])
            if self._window is not None:
                self._member = zlib.decompressobj(wbits=self._window)
        if self._window is None:
            return data
        found = b""
        while data and len(found) < most:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=self._window)
            found += self._member.decompress(data, most - len(found))
            data = self._member.unconsumed_tail or self._member.unused_data
        return found

    def _window_of(self, first: int) -> int | None:
        """The `wbits` that zlib needs, by the first byte; None if the body is not compressed."""
        if self._gzip:
            return 31 if first == 0x1F else None
        # Neither a zlib header nor a raw deflate block begins with the first byte of JSON.
        if first in b'{["':
            return None
        return 15 if first & 0x0F == 8 else -15


def _is_charset(name: str) -> bool:
    try:
        "".encode(name.removeprefix("charset="))
    except LookupError:
        return False
    return True
