"""The models of a REST stream's parts: totals, changes, single records, parents, permissions."""

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
from elt_assets.connectors.provider_fields import Strict
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
)
from elt_assets.connectors.source import Incremental


class DeclaredTotal(Strict):
    """Where the provider's own count of all records is, and whether it is exact."""

    path: SomeKeys | None = Field(None, description="Where a page has the count.")
    header: str | None = Field(None, description="Or the response header, e.g. X-Total-Count.")
    estimate: bool = Field(
        False,
        description="The count is an estimate, which proves nothing about completeness.",
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
    """How to request only the records that changed since a given time."""

    param: Parameter = Field(description="Query parameter that takes the time.")
    field: FieldExpression = Field(
        description="Where a record has the time of its last change; it is also the field "
        "source_updated_at, unless fields has one."
    )
    value: str = Field(
        "{since}", max_length=256, description="Value of the parameter; must hold {since}."
    )
    format: Literal["iso", "epoch", "epoch_ms"] = Field(
        "iso",
        description="How the time is written: ISO 8601 in UTC, or seconds or milliseconds since "
        "1970.",
    )
    full_every: Duration = Field("7d", description="How often all records are read nevertheless.")
    overlap: Duration = Field(
        "5m", description="How far before the newest known change the next extraction begins."
    )

    @model_validator(mode="after")
    def _consistent(self) -> IncrementalReading:
        if "{since}" not in self.value:
            raise ValueError("value has no {since}, where the moment is to stand")
        return self

    def seam(self) -> Incremental:
        """The same settings in the engine's form."""
        return Incremental(duration(self.full_every), duration(self.overlap))

    def params(self, since: str) -> dict[str, str]:
        """The parameter and its value for a time in ISO 8601."""
        seconds = datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp()
        match self.format:
            case "epoch":
                since = str(int(seconds))
            case "epoch_ms":
                since = str(int(seconds * 1000))
        return {self.param: self.value.replace("{since}", since)}


class FilterForSeveral(Strict):
    """A filter of the listing that requests several records at once."""

    param: Parameter = Field(description="Query parameter that takes the filter.")
    each: str = Field(
        'id eq "{external_id}"',
        max_length=256,
        description="Clause of the filter for one record, with {external_id} in quotes; the "
        "clauses are joined by `or`.",
    )
    value: str = Field(
        "{clauses}", max_length=4096, description="The whole filter; must hold {clauses}."
    )
    most: int = Field(20, ge=3, le=200, description="Most clauses that the provider accepts.")

    @model_validator(mode="after")
    def _consistent(self) -> FilterForSeveral:
        if not any(quoted in self.each for quoted in ('"{external_id}"', "'{external_id}'")):
            raise ValueError("each has no {external_id} in quotes, where the record's id stands")
        if "{clauses}" not in self.value:
            raise ValueError("value has no {clauses}, where the clauses are to stand")
        return self


class SingleRecord(Strict):
    """How one record is requested, to make sure that a missing record is really gone."""

    path: SinglePath = Field(
        description="Path with {external_id}, e.g. /users/{external_id}; {external_id} may be in "
        "params instead."
    )
    params: dict[Parameter, SingleParameter] = Field(
        {}, description="Query parameters of that request, e.g. user: '{external_id}'."
    )
    record: Keys = Field(
        "", description="Where the record is in the answer; empty when the answer is the record."
    )
    active: FieldExpression | None = Field(
        None,
        description="Condition for a returned record that the listing still lists, "
        "e.g. status != 'DEPROVISIONED'. Without it every returned record counts as listed.",
    )
    gone_if: ConditionText | None = Field(
        None,
        description="Condition for an answer of status 200 that means that there is no such "
        'record, e.g. error == "user_not_found"; 404 and 410 always mean that.',
    )
    filtered: bool = Field(
        False,
        description="Whether the listing has a filter that this request does not apply. A "
        "returned record may then have left the listing; it is deleted if a second listing lacks "
        "it, too.",
    )
    several: FilterForSeveral | None = Field(
        None, description="How several records are requested at once."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SingleRecord:
        if not any("{external_id}" in text for text in (self.path, *self.params.values())):
            raise ValueError("path has no {external_id}, where the record's id is to stand")
        return self


class ParentStream(Strict):
    """The parents of the lists: the records of another stream, or the names in `among`."""

    stream: str = Field("groups", description="Name of the parents' stream.")
    among: list[str] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Or the values of {parent}, of which each has a list: [employees, "
        "contractors].",
    )
    in_path: FieldExpression | None = Field(
        None,
        description="The value of {parent} in path and params, where it is not the parent's "
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
    """A check that the listing shows everybody, by another request or by a header of its pages.

    It is for providers that answer 200 and leave out records that the credentials may not see.
    """

    path: StreamPath | None = Field(
        None, description="Path of the request, e.g. /user/memberships/orgs/acme."
    )
    params: dict[Parameter, Scalar] = Field({}, description="Query parameters of the request.")
    holds: FieldExpression | None = Field(
        None, description='Condition that its answer must meet, e.g. state == "active".'
    )
    header: str | None = Field(
        None,
        description="Or the header in which each page lists the granted scopes, e.g. "
        "X-OAuth-Scopes. A page without this header is accepted.",
    )
    scopes: list[str] = Field([], description="Scopes that must be in that header.")
    otherwise: str = Field(
        max_length=512,
        description="End of the error message if the check fails: what is wrong and what to do.",
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
