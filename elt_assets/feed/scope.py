"""The scope of a consumer: the organizations, streams and fields of the feed that it may see."""

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
    """A request for something that the consumer may not see or that does not exist."""


@dataclass(frozen=True, slots=True)
class Scope:
    """None in a part allows everything; empty `fields` allow only the names of changed fields."""

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
        """The part of this scope that concerns one organization or one stream.

        Raises `OutOfScope`, with the same message whether or not the organization exists.
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
        """The SQL condition that a row is in the scope, and its parameters."""
        parts, parameters = ["true"], []
        if self.organizations is not None and len(self.organizations) == 1:
            # An equality and not a list, so that the planner uses the primary key.
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
        """The fields of an image that are in the scope; None if the scope has no fields."""
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
