"""The `fields` part of provider_data: the expression that finds each field of a stream in a record.

The module makes the checks that are common to all kinds of providers. The grammar of an expression
is in `expressions`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import Condition, Expression, Joined, Path, Unordered
from elt_assets.connectors.source import FieldMap
from elt_assets.errors import InvalidInput

_KEYS = {
    "group_memberships": ("group_external_id", "member_external_id"),
    "signin_events": ("event_id",),
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)


def parsed(fields: Mapping[str, str], unordered: Collection[str] = ()) -> FieldMap:
    """The map in the engine's form; lists in the fields of `unordered` count as sets."""
    return {
        name: _as_set(parse(text)) if name in unordered else parse(text)
        for name, text in fields.items()
    }


def check_unordered(fields: Mapping[str, str], unordered: Collection[str]) -> None:
    """Raise `ValueError` for a name in `unordered` that is not a field with a value."""
    for name in unordered:
        if name not in fields:
            raise ValueError(f"unordered has {name!r}, which is not among fields")
        if isinstance(parse(fields[name]), Condition):
            raise ValueError(f"unordered has {name!r}, which is true or false and no list")


def _as_set(expression: Expression) -> Expression:
    return expression if isinstance(expression, Condition | Unordered) else Unordered(expression)


def _checked(fields: dict[str, str]) -> dict[str, str]:
    for name, text in fields.items():
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"has {name!r}; use lower-case letters, digits and '_', starting with a letter"
            )
        try:
            parse(text)
        except InvalidInput as error:
            # Pydantic collects ValueErrors only.
            raise ValueError(f"{name}: {error}") from None
    return fields


def key_fields(stream: str) -> tuple[str, ...]:
    """The fields that identify a record of a stream."""
    return _KEYS.get(stream, ("external_id",))


def check_streams(fields_by_stream: Mapping[str, Mapping[str, str]]) -> None:
    """Raise `ValueError` for an invalid name of a stream, and for a stream without key fields."""
    for stream in fields_by_stream:
        if not _NAME.fullmatch(stream):
            raise ValueError(f"streams has {stream!r}, which is not a stream's name")
    for stream, fields in fields_by_stream.items():
        for name in key_fields(stream):
            if name not in fields:
                raise ValueError(
                    f"streams.{stream}.fields: has no {name}; say which field identifies a record"
                )
            if not isinstance(parse(fields[name]), _keys_of(stream)):
                raise ValueError(
                    f"streams.{stream}.fields: {name} compares; give the path of the record's id"
                )


def _keys_of(stream: str) -> tuple[type, ...]:
    """The expressions allowed for a key; an event's key may join fields: nothing refers to it."""
    return (Path, Joined) if stream == "signin_events" else (Path,)


Fields = Annotated[
    dict[str, str],
    Field(
        description="Field to expression, e.g. email: profile.email. The fields that identify a "
        "record are required: external_id; in group_memberships, group_external_id and "
        "member_external_id."
    ),
    AfterValidator(_checked),
]

Unsorted = Annotated[
    list[str],
    Field(
        description="Fields whose lists have no order, such as roles: a different order does not "
        "count as a change."
    ),
]
