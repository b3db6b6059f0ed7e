"""Decoder of Thrift's compact protocol, as far as Parquet's own structures need it.

It decodes one structure from bytes, within bounds. What the fields mean is in `parquet_limits`.
"""

from __future__ import annotations

from typing import Any

_DEEPEST = 16
_STOP, _TRUE, _FALSE, _BYTE = 0, 1, 2, 3
_I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 6, 7, 8, 9, 10, 12

Fields = dict[int, tuple[int, Any]]
"""Field number to wire type and value."""

I32, LIST, STRUCT = 5, _LIST, _STRUCT


class Truncated(Exception):
    """The bytes end before the structure does."""


class Malformed(Exception):
    """The bytes are not a structure of this protocol."""


class ThriftReader:
    """Reads one structure from `data`; `position` is the number of bytes read so far.

    A list that is decoded, not skipped, may have `most` members.
    """

    def __init__(self, data: bytes, most: int = 1_000) -> None:
        self._data = data
        self._most = most
        self.position = 0

    def struct(self, *, only: int | None = None, depth: int = 0) -> Fields:
        """The fields of the structure at `position`; with `only`, that field alone.

        A structure with a field number twice is refused: readers differ in which of the two they
        use.
        """
        if depth > _DEEPEST:
            raise Malformed("nested too deep")
        found: Fields = {}
        number = 0
        while True:
            head = self._byte()
            if head == _STOP:
                return found
            kind, step = head & 0x0F, head >> 4
            number = number + step if step else self._zigzag()
            if number in found:
                raise Malformed(f"field {number} occurs twice")
            if kind in (_TRUE, _FALSE):
                found[number] = kind, kind == _TRUE
            elif only is None or number == only:
                found[number] = kind, self._value(kind, depth)
            else:
                self._skip(kind, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if _BYTE < kind <= _I64:
            return self._zigzag()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            head = self._byte()
            size, element = head >> 4, head & 0x0F
            size = self._varint() if size == 0x0F else size
            if size > self._most:
                raise Malformed(f"a list of {size:,} members")
            return [self._value(element, depth + 1) for _ in range(size)]
        if kind == _STRUCT:
            return self.struct(depth=depth + 1)
        raise Malformed(f"type {kind} is unknown")

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise Malformed("nested too deep")
        if kind in (_LIST, _SET):
            head = self._byte()
            size, element = head >> 4, head & 0x0F
            # Each member takes a byte or more, so a size that is too large ends in `Truncated`.
            for _ in range(self._varint() if size == 0x0F else size):
                self._skip(element, depth + 1)
        elif kind == _STRUCT:
            while (head := self._byte()) != _STOP:
                if not head >> 4:
                    self._zigzag()
                if head & 0x0F not in (_TRUE, _FALSE):
                    self._skip(head & 0x0F, depth + 1)
        else:
            self._value(kind, depth)

    def _bytes(self, size: int) -> bytes:
        found = self._data[self.position : self.position + size]
        if len(found) < size:
            raise Truncated
        self.position += size
        return found

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise Malformed("a number has too many bytes")

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
