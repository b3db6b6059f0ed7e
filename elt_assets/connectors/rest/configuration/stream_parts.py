"""What a REST stream says besides where it is: totals, changes, single records, parents, rights."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from elt_assets.config.durations import duration
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import Condition
from elt_assets.connectors.rest.configuration.text_types import (
    HEADER_NAME,
    ConditionText,
    Duration,
    FieldExpression,
    Keys,
    Parameter,
    Scalar,
    SingleParameter,
    SinglePath,
    SomeKeys,
    StreamPath,
    Strict,
)
from elt_assets.connectors.source import Incremental


class DeclaredTotal(Strict):
    """Where the provider's own count stands, and what it is worth."""

    path: SomeKeys | None = Field(None, description="Where it stands in a page.")
    header: str | None = Field(None, description="Or the response header, e.g. X-Total-Count.")
    estimate: bool = Field(
        False,
        description="The provider only estimates it: it then proves nothing about completeness.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> DeclaredTotal:
        if (self.path is None) == (self.header is None):
            raise ValueError("give the total's place as path or as header, one of the two")
        if self.header is not None and not HEADER_NAME.fullmatch(self.header):
            raise ValueError("header is not a header name")
        return self


Total = Annotated[
    Annotated[SomeKeys, Tag("path")] | Annotated[DeclaredTotal, Tag("place")],
    Discriminator(lambda value: "path" if isinstance(value, str) else "place"),
]


class IncrementalReading(Strict):
    """How the provider is asked for what changed since a moment."""

    param: Parameter = Field(description="Query parameter that takes the moment.")
    field: FieldExpression = Field(
        description="Where a record says when it changed; source_updated_at if that is not mapped."
    )
    value: str = Field(
        "{since}", max_length=256, description="What the parameter holds, {since} in it."
    )
    format: Literal["iso", "epoch", "epoch_ms"] = Field(
        "iso", description="How the moment is written: ISO 8601 in UTC, or time since 1970."
    )
    full_every: Duration = Field("7d", description="How often everything is read all the same.")
    overlap: Duration = Field("5m", description="How far before the newest change reading begins.")

    @model_validator(mode="after")
    def _consistent(self) -> IncrementalReading:
        if "{since}" not in self.value:
            raise ValueError("value has no {since}, where the moment is to stand")
        return self

    def seam(self) -> Incremental:
        """What the engine plans with."""
        return Incremental(duration(self.full_every), duration(self.overlap))

    def params(self, since: str) -> dict[str, str]:
        """The parameter for a moment in ISO 8601."""
        seconds = datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp()
        match self.format:
            case "epoch":
                since = str(int(seconds))
            case "epoch_ms":
                since = str(int(seconds * 1000))
        return {self.param: self.value.replace("{since}", since)}


class FilterForSeveral(Strict):
    """A filter of the listing by which several records are asked for in one request."""

    param: Parameter = Field(description="Query parameter that takes the filter.")
    each: str = Field(
        'id eq "{external_id}"',
        max_length=256,
        description="What the filter says of one record, with {external_id} in quotes; the "
        "clauses are joined by `or`.",
    )
    value: str = Field("{clauses}", max_length=4096, description="The filter, {clauses} in it.")
    most: int = Field(20, ge=3, le=200, description="Clauses that the provider takes at once.")

    @model_validator(mode="after")
    def _consistent(self) -> FilterForSeveral:
        if not any(quoted in self.each for quoted in ('"{external_id}"', "'{external_id}'")):
            raise ValueError("each has no {external_id} in quotes, where the record's id stands")
        if "{clauses}" not in self.value:
            raise ValueError("value has no {clauses}, where the clauses are to stand")
        return self


class SingleRecord(Strict):
    """How one record is asked for, to make sure that a missing one is really gone."""

    path: SinglePath = Field(
        description="Path with {external_id}, e.g. /users/{external_id}; it may stand in params."
    )
    params: dict[Parameter, SingleParameter] = Field(
        {}, description="Query parameters of that request, e.g. user: '{external_id}'."
    )
    record: Keys = Field("", description="Where the record is in the answer; empty: it is it.")
    active: FieldExpression | None = Field(
        None,
        description="Whether the listing still lists a record that comes back, "
        "e.g. status != 'DEPROVISIONED'. Without it each record that comes back is listed.",
    )
    gone_if: ConditionText | None = Field(
        None,
        description="What an answer of status 200 says when there is no such record, e.g. "
        'error == "user_not_found"; 404 and 410 need no words.',
    )
    filtered: bool = Field(
        False,
        description="Whether the listing has a filter that the single answer does not apply: a "
        "record that comes back may then have left the listing, and waits for a second one.",
    )
    several: FilterForSeveral | None = Field(
        None, description="How several records are asked for in one request."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SingleRecord:
        if not any("{external_id}" in text for text in (self.path, *self.params.values())):
            raise ValueError("path has no {external_id}, where the record's id is to stand")
        return self


class ParentStream(Strict):
    """The stream whose records each have a list of their own, or names that each have one."""

    stream: str = Field("groups", description="Name of that stream among streams.")
    among: list[str] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Or what {parent} stands for, one after the other: [employees, contractors].",
    )
    in_path: FieldExpression | None = Field(
        None,
        description="What stands for {parent} in path and params where it is not the parent's "
        "external_id, e.g. slug.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> ParentStream:
        if self.among is None:
            return self
        if self.in_path is not None or "stream" in self.model_fields_set:
            raise ValueError("among names what {parent} is; leave stream and in_path out")
        if len(set(self.among)) < len(self.among) or not all(map(_is_step, self.among)):
            raise ValueError("among has a name twice, or one that cannot stand in a path")
        return self


def _is_step(text: str) -> bool:
    return text not in ("", ".", "..") and "\0" not in text


class RequiredPermission(Strict):
    """What tells whether the listing shows everybody: another request, or a header of its pages.

    For providers that answer 200 and leave out what the credentials may not see.
    """

    path: StreamPath | None = Field(
        None, description="Path of the request, e.g. /user/memberships/orgs/acme."
    )
    params: dict[Parameter, Scalar] = Field({}, description="Its query parameters.")
    holds: FieldExpression | None = Field(
        None, description='What its answer must say, e.g. state == "active".'
    )
    header: str | None = Field(
        None,
        description="Or the header in which each page lists the scopes that were granted, e.g. "
        "X-OAuth-Scopes. A page without it says nothing.",
    )
    scopes: list[str] = Field([], description="Scopes that must be in that header.")
    otherwise: str = Field(
        max_length=512, description="What is wrong if it does not, and what to do; ends the error."
    )

    @model_validator(mode="after")
    def _says_what(self) -> RequiredPermission:
        by_request = self.path is not None and self.holds is not None
        by_header = self.header is not None and bool(self.scopes)
        given = [self.path, self.holds, self.header, self.scopes or None]
        if by_request is by_header or len([one for one in given if one is not None]) != 2:
            raise ValueError("give path and holds, or header and scopes")
        if self.holds is not None and not isinstance(parse(self.holds), Condition):
            raise ValueError(f'holds: {self.holds!r} compares nothing, as state == "active" does')
        return self
