"""What of the feed a consumer may see: organizations, streams and fields."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from elt_assets.errors import InvalidInput
from elt_assets.identifiers import checked_name
from elt_assets.storage.operational.sql_dialect import SqlDialect
from elt_assets.sync.state.feed_log import REMOVED
from elt_assets.sync.streams import STREAMS

ATTRIBUTES = "attributes"


class OutOfScope(InvalidInput):
    """Something that the consumer may not see, or that is not there."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Each part is None for everything; with no `fields` only names of changed ones are seen."""

    organizations: tuple[str, ...] | None = None
    streams: tuple[str, ...] | None = None
    fields: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for organization in self.organizations or ():
            checked_name(organization, "organization")
        _known(self.streams or (), STREAMS, "stream")
        names = {column.name for stream in STREAMS.values() for column in stream.columns}
        _known(self.fields or (), [*sorted(names), ATTRIBUTES], "field")

    def narrowed(self, organization: str | None, stream: str | None) -> Scope:
        """What of this scope is about one organization or one stream.

        Raises `OutOfScope`, worded alike whether or not there is such a thing.
        """
        for asked, allowed, what in (
            (organization, self.organizations, "organization"),
            (stream, self.streams, "stream"),
        ):
            if asked is not None and allowed is not None and asked not in allowed:
                raise OutOfScope(f"the token gives no access to {what} {asked[:64]!r}")
        return Scope(
            self.organizations if organization is None else (organization,),
            self.streams if stream is None else (stream,),
            self.fields,
        )

    def condition(self, dialect: SqlDialect, *, of_feed: bool) -> tuple[str, tuple[str, ...]]:
        """SQL that a row is in the scope, and its parameters."""
        parts, parameters = ["true"], []
        if self.organizations is not None and len(self.organizations) == 1:
            # Not a list: the planner must find these rows by the key.
            parts.append("organization_id = ?")
            parameters.append(self.organizations[0])
        elif self.organizations is not None:
            parts.append(f"organization_id IN ({dialect.texts})")
            parameters.append(_array(self.organizations))
        if of_feed and self.streams is not None:
            parts.append(f"stream IN ({dialect.texts})")
            parameters.append(_array((*self.streams, REMOVED)))
        return " AND ".join(parts), tuple(parameters)

    def visible(self, image: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Of an image the fields in the scope; None where it shows none."""
        if image is None or self.fields == ():
            return None
        if self.fields is None:
            return dict(image)
        return {name: value for name, value in image.items() if name in self.fields}


def _known(asked: Collection[str], known: Collection[str], what: str) -> None:
    for name in asked:
        if name not in known:
            raise InvalidInput(f"{what} {name[:64]!r} is not one of {', '.join(known)}")


def _array(names: tuple[str, ...]) -> str:
    return msgspec.json.encode(names).decode()
