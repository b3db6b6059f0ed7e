"""The models of a REST integration's provider_data, with their limits and error messages.

Every description appears in the JSON Schema and in the documentation, so it is written for the
person who fills it in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from elt_assets.config.durations import duration
from elt_assets.config.safeguards import SafeguardOverrides
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.mapping.expression_parser import parse, parse_keys
from elt_assets.connectors.mapping.expressions import Condition, names_used, speaks_of_parent
from elt_assets.connectors.mapping.field_map import (
    Unsorted,
    check_streams,
    check_unordered,
    key_fields,
)
from elt_assets.connectors.mapping.templates import PERIOD_NAMES
from elt_assets.connectors.priority import Priority
from elt_assets.connectors.rest.auth_data import (
    Auth,
    ClientCertificate,
    SessionAuth,
    SeveralAuth,
    TokenAuth,
)
from elt_assets.connectors.rest.jobs.job_data import ExportJob
from elt_assets.connectors.rest.pages.xml_pages import XmlPages
from elt_assets.connectors.rest.pagination_data import (
    CursorPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
    ScimPagination,
)
from elt_assets.connectors.rest.refining.details import RecordDetails
from elt_assets.connectors.rest.refining.members_only import OnlyMembers
from elt_assets.connectors.rest.request_body import RequestBody, check_names, texts
from elt_assets.connectors.rest.text_types import (
    HEADER_NAME,
    HEADER_VALUE,
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
    Url,
    template,
)
from elt_assets.connectors.source import Incremental
from elt_assets.errors import InvalidInput

_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_OWN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}
)


PERIODICAL = ("signin_events",)
"""Streams of which a period is asked for at a time: what has happened, not what there is."""


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
        description="What is sent by POST; then parameters of the pagination and of incremental "
        "stand in it and not in the query.",
    )
    records: Keys = Field("", description="Where the list is in a page; empty when the page is it.")
    pagination: Pagination
    xml: XmlPages | None = Field(
        None, description="That pages are XML; {} where nothing more is to be said of them."
    )
    total: Total | None = Field(
        None,
        description="Where the provider's own count of all records stands, e.g. meta.total; or "
        "{path: meta.total, estimate: true}, or {header: X-Total-Count}.",
    )
    more: SomeKeys | None = Field(
        None,
        description="Where a page says whether another follows (true or false); has_more and the "
        "like are found by themselves.",
    )
    where: FieldExpression | None = Field(
        None,
        description='Which records are meant, e.g. type == "person" and status != "guest"; '
        "the others count as not listed.",
    )
    snapshot: bool = Field(
        False,
        description="The provider promises that all pages of one listing show one moment; see "
        "the section on deletes before you set it.",
    )
    empty_if: ConditionText | None = Field(
        None,
        description="What a page says that leaves an empty list out, e.g. "
        'kind == "admin#directory#members"; without it such a page is an error.',
    )
    incremental: IncrementalReading | None = Field(
        None, description="How to ask for changes alone; without it everything is read each time."
    )
    single: SingleRecord | None = Field(None, description="How one record is asked for.")
    details: RecordDetails | None = Field(
        None, description="A further request for each record, for what the listing leaves out."
    )
    only_members_of: OnlyMembers | None = Field(
        None, description="Groups whose members are meant; others count as not listed."
    )
    job: ExportJob | None = Field(
        None,
        description="That the request of path begins a job, whose result is a file of records.",
    )
    requires: RequiredPermission | None = Field(
        None,
        description="A request before the first page that tells whether the credentials see "
        "everybody; if not, the sync fails.",
    )
    parent: ParentStream | None = Field(
        None,
        description="Where this is a list for each record of another stream, such as the members "
        "of each group; that record's id is {parent} in path and params and $parent in fields.",
    )
    fields: dict[str, FieldExpression] = Field(
        description="Field to expression, e.g. email: profile.email. What identifies a record is "
        "required: external_id, of group_memberships group_external_id and member_external_id, of "
        "signin_events event_id."
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
        """Where the provider's own count stands; SCIM says where."""
        if isinstance(self.total, DeclaredTotal):
            return self.total
        implied = "totalResults" if isinstance(self.pagination, ScimPagination) else None
        path = self.total or implied
        return None if path is None else DeclaredTotal(path=path)

    def has_place(self, name: str) -> bool:
        """Whether `{name}` stands in the path or in a parameter."""
        templates = [self.path, *(value for value in self.params.values() if type(value) is str)]
        templates += [] if self.body is None else texts(self.body)
        return any(f"{{{name}}}" in template for template in templates)

    def _check_parent(self) -> None:
        has_place = self.has_place("parent")
        speaks_of_it = any(speaks_of_parent(parse(text)) for text in self.fields.values())
        if self.parent is None:
            if has_place or speaks_of_it:
                raise ValueError(
                    "{parent} and $parent mean whom records are listed under; say with parent "
                    "which stream that is"
                )
            return
        if not has_place:
            raise ValueError("path has no {parent}, where the parent's id is to stand")
        if self.incremental is not None or self.single is not None:
            raise ValueError("incremental and single cannot be used together with parent")

    def _check_body(self) -> None:
        if self.body is None:
            return
        known = [getattr(self.pagination, name, None) for name in ("param", "size_param")]
        known.append(None if self.incremental is None else self.incremental.param)
        try:
            check_names(self.body, [name for name in known if name is not None])
        except InvalidInput as error:
            raise ValueError(f"body.content: {error}") from None

    def _check_refined(self) -> None:
        """What cannot be used with a job, with details or with memberships."""
        if self.job is not None:
            refused = ("parent", "incremental", "details", "only_members_of", "requires", "xml")
            for name in refused:
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} cannot be used with job")
            if not isinstance(self.pagination, NoPagination) or self.records:
                raise ValueError("job: give pagination: {type: none} and leave records out")
        chosen_by = set() if self.where is None else names_used(parse(self.where))
        if self.details is not None and self.details.into in chosen_by:
            raise ValueError(
                f"where: {self.details.into} is not there yet when records are chosen, which "
                "is before their details are requested"
            )
        refined = self.details is not None or self.only_members_of is not None
        if refined and self.parent is not None:
            raise ValueError("details and only_members_of cannot be used with parent")
        if self.only_members_of is not None and self.incremental is not None:
            raise ValueError("only_members_of: who joins a group need not change; no incremental")

    def _check_snapshot(self) -> None:
        if self.snapshot and isinstance(
            self.pagination, PagePagination | OffsetPagination | ScimPagination
        ):
            raise ValueError(
                f"snapshot: pagination type {self.pagination.type!r} counts records, so one that "
                "leaves moves others while pages are read; remove snapshot"
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
                    raise ValueError(f"{name} stands inside or at another path of the page")
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


class RateLimit(Strict):
    """How hard the provider may be asked."""

    requests_per_second: float | None = Field(
        None, gt=0, le=10_000, description="Requests a second; no limit of ours if left out."
    )
    concurrency: int = Field(1, ge=1, le=64, description="Requests in flight at once.")


class Connection(Strict):
    """What every integration over HTTP has: where it is, who asks, how hard."""

    permission_source_name: str | None = Field(
        None, max_length=256, description="What people call this source."
    )
    api_endpoint: Url = Field(description="Address that all paths start with.")
    auth: Auth | None = Field(None, description="How requests prove who sends them.")
    client_certificate: ClientCertificate | None = Field(
        None, description="The certificate that is shown to the provider (mutual TLS)."
    )
    headers: dict[str, str] = Field(
        {},
        description="Headers of every request; never secrets. They may hold {organization_id} and "
        "{integration_id}.",
    )
    rate_limit: RateLimit = Field(RateLimit(), description="How hard the provider may be asked.")
    safeguards: SafeguardOverrides | None = Field(
        None, description="Limits on deletes and rejects, where they differ from the platform's."
    )
    priority: Priority = 0
    allow_plain_http: bool = Field(
        False, description="Send credentials unencrypted to a host that is not this machine."
    )
    allowed_hosts: list[str] = Field(
        [], description="Other hosts that links may lead to; they get no credentials."
    )

    @model_validator(mode="after")
    def _reachable(self) -> Connection:
        if not (Origin.of(self.api_endpoint).is_private or self.allow_plain_http):
            raise ValueError(
                "api_endpoint is plain http, which anybody on the way can read; "
                "use https or set allow_plain_http: true"
            )
        if self.client_certificate and Origin.of(self.api_endpoint).scheme != "https":
            raise ValueError("client_certificate is shown in TLS; api_endpoint is not https")
        for auth in self.auth.parts if isinstance(self.auth, SeveralAuth) else [self.auth]:
            match auth:
                case TokenAuth(token_url=url):
                    place = "token_url"
                case SessionAuth(login_url=url):
                    place = "login_url"
                case _:
                    continue
            if not (Origin.of(url).is_private or self.allow_plain_http):
                raise ValueError(
                    f"auth.{place} is plain http, which anybody on the way can read; "
                    "use https or set allow_plain_http: true"
                )
        for name, value in self.headers.items():
            lower = name.lower()
            if lower in _SECRET_HEADERS:
                raise ValueError(f"headers has {name}; credentials go to auth, by reference")
            if lower in _OWN_HEADERS:
                raise ValueError(f"headers has {name}, which is set for every request")
            if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
                raise ValueError(f"headers has {name!r}, which cannot be sent as it is")
        for host in self.allowed_hosts:
            if not re.fullmatch(r"[a-z0-9.\-]+(:\d+)?|\[[0-9a-f:.]+\](:\d+)?", host):
                raise ValueError(f"allowed_hosts has {host!r}; write host or host:port, lower case")
        return self


class RestData(Connection):
    """provider_data of a REST integration."""

    streams: dict[str, RestStream] = Field(min_length=1, description="Streams by name: users.")

    @property
    def has_snapshot(self) -> bool:
        """Whether some stream promises that one listing is one consistent state."""
        return any(stream.snapshot for stream in self.streams.values())

    @model_validator(mode="after")
    def _named(self) -> RestData:
        check_streams({name: stream.fields for name, stream in self.streams.items()})
        for name, stream in self.streams.items():
            if stream.single is not None and len(key_fields(name)) > 1:
                raise ValueError(f"streams.{name}: single cannot be used with a key of two parts")
            if stream.parent is not None and stream.parent.among is None:
                self._check_parent(name, stream.parent.stream)
            self._check_members(name, stream)
            self._check_period(name, stream)
        return self

    def _check_members(self, name: str, stream: RestStream) -> None:
        described = stream.only_members_of
        if described is None:
            return
        members = self.streams.get(described.stream)
        if name != "users" or members is None or "member_external_id" not in members.fields:
            raise ValueError(
                f"streams.{name}.only_members_of: it is for users, and stream "
                f"{described.stream!r} must list members with member_external_id"
            )
        if members.parent is None:
            raise ValueError(f"streams.{described.stream}: its path has no {{parent}}, the group")

    def _check_period(self, name: str, stream: RestStream) -> None:
        found = [end for end in PERIOD_NAMES if stream.has_place(end)]
        if name not in PERIODICAL:
            if found:
                raise ValueError(
                    f"streams.{name}: {{{found[0]}}} is known only where a day is asked for: "
                    f"{', '.join(PERIODICAL)}"
                )
        elif len(found) < len(PERIOD_NAMES):
            raise ValueError(
                f"streams.{name}.params: {{from}} and {{to}}, where the day's beginning and end "
                "are to stand, must both be there"
            )
        elif stream.parent is not None or stream.incremental is not None:
            raise ValueError(f"streams.{name}: parent and incremental cannot be used with a period")

    def _check_parent(self, name: str, parent: str) -> None:
        described = self.streams.get(parent)
        if described is None:
            raise ValueError(f"streams.{name}.parent: there is no stream {parent!r}")
        if described.parent is not None or len(key_fields(parent)) > 1:
            raise ValueError(f"streams.{name}.parent: {parent} cannot be a parent itself")


def mistakes(error: ValidationError) -> str:
    """Every mistake as `field: what is wrong`, on one line, without the values given."""
    return "; ".join(
        f"{_place(issue['loc'])}: {_words(issue['msg'])}" if issue["loc"] else _words(issue["msg"])
        for issue in error.errors(include_url=False, include_context=False, include_input=False)
    )


_TAGS = frozenset(
    {
        *("bearer", "api_key", "basic", "oauth2_client_credentials", "oauth2_refresh_token"),
        "oauth2_jwt_bearer",
        *("oauth2_private_key_jwt", "hmac", "aws_signature", "session", "several"),
        *("cursor", "next_url", "link_header", "page", "offset", "keyset", "scim", "none"),
        *("json", "form", "graphql", "xml"),
        "place",
        *("sftp", "s3"),
    }
)


def _place(location: tuple[str | int, ...]) -> str:
    # A tag of a union is a step of the location that is not in the author's text.
    steps = [
        step
        for before, step in zip((None, *location), location, strict=False)
        if not (before in ("auth", "pagination", "total", "body", "remote") and step in _TAGS)
        and step not in ("[key]", "SecretRef", "str")
    ]
    return ".".join(str(step) for step in steps)


def _words(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message.replace("Field required", "is missing").replace(
        "Extra inputs are not permitted", "is not a known field"
    )
