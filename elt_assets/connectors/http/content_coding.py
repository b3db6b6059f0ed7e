"""What the `Content-Encoding` of an answer means, and undoing it within a limit.

Only gzip is asked for. Servers also send deflate, write a character set into the header, or
say gzip of a body that is not compressed.
"""

from __future__ import annotations

import zlib

_NONE = frozenset({"", "identity", "none", "binary", "7bit", "8bit", "chunked"})
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)


def inflating(header: str) -> Inflating | None:
    """How to undo what the header says; None if there is nothing to undo.

    Raises `LookupError` with the name of a coding that is not known.
    """
    names = [name.strip().lower() for name in header.split(",")]
    left = [name for name in names if name not in _NONE and not _is_charset(name)]
    if not left:
        return None
    if len(left) > 1 or left[0] not in (*_GZIP, *_DEFLATE):
        raise LookupError(", ".join(left))
    return Inflating(gzip=left[0] in _GZIP)


class Inflating:
    """Decompression with a bound on what one call may give: a small body cannot fill memory."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._begun = False
        self._window: int | None = None
        self._member = zlib.decompressobj(wbits=31)

    @property
    def finished(self) -> bool:
        """Whether the last member was whole."""
        return self._window is None or self._member.eof

    def feed(self, data: bytes, most: int) -> bytes:
        """Decompress `data`, giving up once more than `most` bytes have come out.

        Raises `zlib.error` where it is damaged.
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
        """Zlib's name for the wrapping, by the first byte; None if there is no compression."""
        if self._gzip:
            return 31 if first == 0x1F else None
        # JSON begins with none of these: a zlib header, or a compressed block without one.
        if first in b'{["':
            return None
        return 15 if first & 0x0F == 8 else -15


def _is_charset(name: str) -> bool:
    try:
        "".encode(name.removeprefix("charset="))
    except LookupError:
        return False
    return True
