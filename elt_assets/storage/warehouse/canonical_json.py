"""DuckDB functions that write JSON in canonical form, so that equal values have equal texts.

Members of objects are sorted by name, and equal numbers are written alike (after RFC 8785, except
that integers keep all their digits). DuckDB itself keeps the order of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
from duckdb.func import PythonUDFType

_EXACT = 2**53
"""Up to here, every integer has an exact double."""

_encode = msgspec.json.Encoder(order="sorted").encode


def canonical(text: str) -> str:
    """The canonical text of a JSON value."""
    return _rewritten(text, lambda value: value)


def canonical_set(text: str) -> str:
    """The canonical text of a JSON list whose order is irrelevant; else as `canonical`."""
    return _rewritten(
        text, lambda value: sorted(value, key=_encode) if isinstance(value, list) else value
    )


def canonical_members(text: str) -> str:
    """The canonical text of an object, in which members that are empty texts become null."""
    return _rewritten(
        text,
        lambda value: (
            {name: None if member == "" else member for name, member in value.items()}
            if isinstance(value, dict)
            else value
        ),
    )


def add_canonical_json(connection: duckdb.DuckDBPyConnection) -> None:
    """Add canonical_json, canonical_set and canonical_members to the connection's instance."""
    for name, function in (
        ("canonical_json", canonical),
        ("canonical_set", canonical_set),
        ("canonical_members", canonical_members),
    ):
        connection.create_function(
            name, _over_columns(function), ["varchar"], "varchar", type=PythonUDFType.ARROW
        )


def _over_columns(function: Callable[[str], str]) -> Callable[[pa.ChunkedArray], pa.Array]:
    def applied(column: pa.ChunkedArray) -> pa.Array:
        texts = column.to_pylist()
        return pa.array([None if one is None else function(one) for one in texts], pa.string())

    return applied


def _rewritten(text: str, change: Callable[[Any], Any]) -> str:
    try:
        return _encode(change(_decode(text))).decode()
    except (msgspec.DecodeError, RecursionError):
        # The text is nested too deeply, or only DuckDB accepts it as JSON: it is left unchanged.
        return text


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


_decode = msgspec.json.Decoder(float_hook=_number).decode
