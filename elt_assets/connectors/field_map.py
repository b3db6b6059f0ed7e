"""The `fields` part of provider_data: which field of a stream is found where in a record.

Belongs here: what every kind of provider demands of it. Does not: the grammar of an
expression (expressions).
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from elt_assets.connectors.expressions import Path, parse
from elt_assets.connectors.source import FieldMap
from elt_assets.errors import InvalidInput

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)


def parsed(fields: dict[str, str]) -> FieldMap:
    """The map as the engine takes it."""
    return {name: parse(text) for name, text in fields.items()}


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
    if "external_id" not in fields:
        raise ValueError("has no external_id; say which field identifies a record")
    if not isinstance(parse(fields["external_id"]), Path):
        raise ValueError("external_id compares; give the path of the record's id")
    return fields


Fields = Annotated[
    dict[str, str],
    Field(description="Field to expression, e.g. email: profile.email. external_id is required."),
    AfterValidator(_checked),
]
