"""The model of one REST stream, with checks for parts that cannot be used together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import (
    Field,
    model_validator,
)

from elt_assets.connectors.mapping.expression_parser import parse, parse_keys
from elt_assets.connectors.mapping.expressions import Condition, names_used, speaks_of_parent
from elt_assets.connectors.mapping.field_map import (
    Unsorted,
    check_unordered,
)
from elt_assets.connectors.provider_fields import Strict
from elt_assets.connectors.rest.configuration.pagination_data import (
    CursorPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
    ScimPagination,
)
from elt_assets.connectors.rest.configuration.stream_parts import (
    DeclaredTotal,
    IncrementalReading,
    ParentStream,
    RequiredPermission,
    SingleRecord,
    Total,
)
from elt_assets.connectors.rest.configuration.text_types import (
    ConditionText,
    FieldExpression,
    Keys,
    Parameter,
    Scalar,
    SomeKeys,
    StreamPath,
    template,
)
from elt_assets.connectors.rest.jobs.job_data import ExportJob
from elt_assets.connectors.rest.pages.xml_pages import XmlPages
from elt_assets.connectors.rest.refining.details import RecordDetails
from elt_assets.connectors.rest.refining.members_only import OnlyMembers
from elt_assets.connectors.rest.request_body import (
    FormBody,
    JsonBody,
    RequestBody,
    check_names,
    texts,
)
from elt_assets.errors import InvalidInput

_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)


class RestStream(Strict):
    """One kind of record and how it is read."""

    path: StreamPath = Field(
        description="Path under api_endpoint, e.g. /users; may hold {organization_id} and "
        "{integration_id}."
    )
    params: dict[Parameter, Scalar] = Field(
        {},
        description="Query parameters of every request; may hold {organization_id} and "
        "{integration_id}, and for signin_events must hold {from} and {to}.",
    )
    body: RequestBody | None = Field(
        None,
        description="A body, which is sent by POST. The parameters of pagination and incremental "
        "are then put into the body and not into the query.",
    )
    records: Keys = Field(
        "", description="Where the list of records is in a page; empty when the page is the list."
    )
    keyed: bool = Field(
        False,
        description="Set where records leads to an object that has each record under its key.",
    )
    pagination: Pagination
    xml: XmlPages | None = Field(
        None, description="Set where pages are XML; {} if the defaults suffice."
    )
    total: Total | None = Field(
        None,
        description="Where a page has the provider's own count of all records, e.g. meta.total; "
        "or {path: meta.total, estimate: true}, or {header: X-Total-Count}.",
    )
    more: SomeKeys | None = Field(
        None,
        description="Where a page says whether another follows (true or false); has_more and "
        "similar names are found automatically.",
    )
    where: FieldExpression | None = Field(
        None,
        description="Condition for the records of the stream, e.g. "
        'type == "person" and status != "guest"; the others count as not listed.',
    )
    snapshot: bool = Field(
        False,
        description="The provider promises that all pages of one listing show the state at one "
        "moment; see the section on deletes before you set it.",
    )
    empty_if: ConditionText | None = Field(
        None,
        description="Condition for a page that leaves out an empty list, e.g. "
        'kind == "admin#directory#members"; without it such a page is an error.',
    )
    incremental: IncrementalReading | None = Field(
        None,
        description="How to request only changes; without it all records are read each time.",
    )
    single: SingleRecord | None = Field(None, description="How one record is requested.")
    details: RecordDetails | None = Field(
        None, description="A further request for each record, for values that the listing lacks."
    )
    only_members_of: OnlyMembers | None = Field(
        None, description="Groups whose members the stream has; others count as not listed."
    )
    job: ExportJob | None = Field(
        None,
        description="Set where the request of path begins a job, whose result is a file of "
        "records.",
    )
    requires: RequiredPermission | None = Field(
        None,
        description="A check whether the credentials see everybody: a request before the first "
        "page, or a header of each page. If they do not, the sync fails.",
    )
    parent: ParentStream | None = Field(
        None,
        description="Set where each record of another stream has a list, such as the members of "
        "each group. The id of that record is {parent} in path and params and $parent in fields.",
    )
    fields: dict[str, FieldExpression] = Field(
        description="Field to expression, e.g. email: profile.email. The fields that identify a "
        "record are required: external_id; in group_memberships, group_external_id and "
        "member_external_id; in signin_events, event_id."
    )
    unordered: Unsorted = Field([])

    @model_validator(mode="after")
    def _consistent(self) -> RestStream:
        check_unordered(self.fields, self.unordered)
        for name in self.fields:
            if not _FIELD_NAME.fullmatch(name):
                raise ValueError(
                    f"fields has {name!r}; use lower-case letters, digits and '_', "
                    "starting with a letter"
                )
        for value in self.params.values():
            if isinstance(value, str):
                template(value)
        if self.where is not None and not isinstance(parse(self.where), Condition):
            raise ValueError(f'where: {self.where!r} compares nothing, as kind == "person" does')
        self._check_body()
        self._check_refined()
        if self.body is not None and self.single is not None and self.single.several is not None:
            raise ValueError("single.several: a filter of several records is for GET, not for body")
        self._check_parent()
        self._check_paths()
        self._check_snapshot()
        return self

    @property
    def declared_total(self) -> DeclaredTotal | None:
        """Where a page has the provider's own count; SCIM defines the place."""
        if isinstance(self.total, DeclaredTotal):
            return self.total
        implied = "totalResults" if isinstance(self.pagination, ScimPagination) else None
        path = self.total or implied
        return None if path is None else DeclaredTotal(path=path)

    def has_place(self, name: str) -> bool:
        """Whether `{name}` occurs in the path, in a parameter or in the body."""
        templates = [self.path, *(value for value in self.params.values() if type(value) is str)]
        templates += [] if self.body is None else texts(self.body)
        return any(f"{{{name}}}" in template for template in templates)

    def _check_parent(self) -> None:
        has_place = self.has_place("parent")
        speaks_of_it = any(speaks_of_parent(parse(text)) for text in self.fields.values())
        if self.parent is None:
            if has_place or speaks_of_it:
                raise ValueError(
                    "{parent} and $parent mean the record that others are listed under; name its "
                    "stream with parent"
                )
            return
        if not has_place:
            raise ValueError("path has no {parent}, where the parent's id is to stand")
        if self.incremental is not None or self.single is not None:
            raise ValueError("incremental and single cannot be used together with parent")

    def _check_body(self) -> None:
        if self.body is None:
            return
        continued = getattr(self.pagination, "path", None) is not None
        if continued and not isinstance(self.body, JsonBody | FormBody):
            raise ValueError(
                "pagination.path: only a body of JSON or a form can have the token alone"
            )
        known = [getattr(self.pagination, name, None) for name in ("param", "size_param")]
        known.append(None if self.incremental is None else self.incremental.param)
        try:
            check_names(self.body, [name for name in known if name is not None])
        except InvalidInput as error:
            raise ValueError(f"body.content: {error}") from None

    def _check_refined(self) -> None:
        """Raise `ValueError` for parts that cannot be used with job, details or only_members_of."""
        if self.job is not None:
            refused = ("parent", "incremental", "details", "only_members_of", "requires", "xml")
            for name in refused:
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} cannot be used with job")
            if not isinstance(self.pagination, NoPagination) or self.records:
                raise ValueError("job: give pagination: {type: none} and leave records out")
        if self.keyed and (self.xml is not None or self.job is not None):
            raise ValueError("keyed is for JSON pages, not for xml or job")
        chosen_by = set() if self.where is None else names_used(parse(self.where))
        if self.details is not None and self.details.into in chosen_by:
            raise ValueError(
                f"where: {self.details.into} cannot be used, because records are chosen before "
                "their details are requested"
            )
        refined = self.details is not None or self.only_members_of is not None
        if refined and self.parent is not None:
            raise ValueError("details and only_members_of cannot be used with parent")
        if self.only_members_of is not None and self.incremental is not None:
            raise ValueError(
                "only_members_of cannot be used with incremental: a user who joins a group need "
                "not change"
            )

    def _check_snapshot(self) -> None:
        if self.snapshot and isinstance(
            self.pagination, PagePagination | OffsetPagination | ScimPagination
        ):
            raise ValueError(
                f"snapshot: pagination type {self.pagination.type!r} counts records, so a record "
                "that is removed while pages are read moves others; remove snapshot"
            )
        if self.snapshot and self.parent is not None:
            raise ValueError(
                "snapshot: lists under parents are read one after the other; remove it"
            )

    def _check_paths(self) -> None:
        records = parse_keys(self.records)
        seen = [records]
        for name, text in self._envelope_paths():
            if not records:
                raise ValueError(f"{name} cannot be read when the page itself is the list")
            keys = parse_keys(text)
            for other in seen:
                shorter = min(len(keys), len(other))
                if keys[:shorter] == other[:shorter]:
                    raise ValueError(f"{name} is at or inside another path of the page")
            seen.append(keys)

    def _envelope_paths(self) -> Iterator[tuple[str, str]]:
        match self.pagination:
            case CursorPagination(cursor=str() as text):
                yield "pagination.cursor", text
            case NextUrlPagination(url=text):
                yield "pagination.url", text
        total = self.declared_total
        if total is not None and total.path is not None:
            yield "total", total.path
        if self.more is not None:
            yield "more", self.more
