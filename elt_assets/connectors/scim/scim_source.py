"""SCIM 2.0 (RFC 7643, 7644, 9865): users and groups of any provider that implements it.

The module turns the paths, shapes and fields that SCIM defines into a REST configuration, and
chooses the pagination and the page size that the provider advertises. The REST source reads the
pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field, ValidationError, model_validator

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.provider_fields import Strict
from elt_assets.connectors.rest.configuration.text_types import (
    Duration,
    FieldExpression,
)
from elt_assets.connectors.rest.provider_data import Connection, RestData, mistakes
from elt_assets.connectors.rest.rest_source import RestSource
from elt_assets.connectors.scim.group_members import ScimMembers
from elt_assets.connectors.scim.scim_dialect import ScimDialect
from elt_assets.connectors.source import (
    Cursor,
    KnownPage,
    Page,
    Presence,
    Source,
)
from elt_assets.errors import PageUnreadable, ProviderRefused, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef

USER_FIELDS = {
    "external_id": "id",
    "name": "displayName || name.formatted || name.givenName + ' ' + name.familyName || userName",
    "email": "emails[primary == true].value || emails[0].value",
    "active": "active",
    "source_updated_at": "meta.lastModified",
    "user_name": "userName",
}


GROUP_FIELDS = {
    "external_id": "id",
    "name": "displayName",
    "source_updated_at": "meta.lastModified",
}
_MOST_CLAUSES = 20
_FEWEST_CLAUSES = 3
_MEMBER_LISTS = "member_lists"
"""A listing of groups with only their members."""


class ScimIncremental(Strict):
    """Reads only records that changed, by meta.lastModified."""

    full_every: Duration = Field("7d", description="How often all records are read nevertheless.")
    overlap: Duration = Field(
        "5m", description="How far before the newest known change the next extraction begins."
    )


class ScimData(Connection):
    """provider_data of a SCIM 2.0 provider; api_endpoint is the address without /Users."""

    filter: str | None = Field(
        None, max_length=2048, description='Only users that match, e.g. userType eq "Employee".'
    )
    attributes: list[str] = Field(
        [],
        description="Attributes to request; all if empty. They must include those that fields use.",
    )
    count: int = Field(100, ge=1, le=10_000, description="Most users or groups of one page.")
    streams: list[Literal["users", "groups", "group_memberships"]] = Field(
        ["users"],
        min_length=1,
        description="What to read. Memberships are the members that /Groups lists with each "
        "group; filter, attributes, fields and incremental apply to users only.",
    )
    unsupported: list[Literal["count", "attributes"]] = Field(
        [],
        description="Query parameters that the server refuses, so that they are not sent. "
        "attributes includes excludedAttributes. A parameter that the server's refusal names is "
        "left out automatically.",
    )
    pagination: Literal["auto", "index", "cursor"] = Field(
        "auto",
        description="auto uses cursors where /ServiceProviderConfig advertises them, and else an "
        "index.",
    )
    fields: dict[str, FieldExpression] = Field(
        {}, description="Further fields, or other expressions for the usual ones."
    )
    incremental: ScimIncremental | None = Field(
        None,
        description="Read only what changed; the provider must filter by meta.lastModified.",
    )

    @model_validator(mode="after")
    def _readable(self) -> ScimData:
        try:
            rest_data(self, cursors=False, count=self.count)
        except ValidationError as error:
            raise ValueError(mistakes(error)) from None
        return self


def rest_data(config: ScimData, *, cursors: bool, count: int, filters: bool = False) -> RestData:
    """The REST configuration that reads the provider's users and groups.

    `filters` says whether the provider supports filters; `count` is the size of a page.
    """
    params: dict[str, Any] = {}
    if config.filter is not None:
        params["filter"] = config.filter
    selects, sized = (name not in config.unsupported for name in ("attributes", "count"))
    if config.attributes and selects:
        params["attributes"] = ",".join(config.attributes)
    pagination: dict[str, Any] = {"type": "scim", "count": count if sized else None}
    if cursors:
        # RFC 9865: an empty cursor asks for the first page by cursor.
        pagination = {"type": "cursor", "cursor": "nextCursor", "param": "cursor", "first": ""}
    users: dict[str, Any] = {
        "path": "/Users",
        "params": params,
        "records": "Resources",
        "pagination": pagination,
        "total": "totalResults",
        "fields": {**USER_FIELDS, **config.fields},
    }
    # A user who no longer matches the filter can still be requested.
    users["single"] = {"path": "/Users/{external_id}", "filtered": config.filter is not None}
    if config.incremental is not None:
        changed = 'meta.lastModified gt "{since}"'
        users["incremental"] = {
            "param": "filter",
            "field": "meta.lastModified",
            "value": changed if config.filter is None else f"({config.filter}) and {changed}",
            **config.incremental.model_dump(),
        }
    groups: dict[str, Any] = {
        "path": "/Groups",
        # Otherwise each group would be sent with its members, possibly thousands.
        "params": {"excludedAttributes": "members"} if selects else {},
        "records": "Resources",
        "pagination": pagination,
        "total": "totalResults",
        "single": {
            "path": "/Groups/{external_id}",
            "params": {"excludedAttributes": "members"} if selects else {},
        },
        "fields": GROUP_FIELDS,
    }
    if filters and count >= _FEWEST_CLAUSES:
        several = {"param": "filter", "most": min(count, _MOST_CLAUSES)}
        groups["single"]["several"] = several
        users["single"]["several"] = several | (
            {} if config.filter is None else {"value": f"({config.filter}) and ({{clauses}})"}
        )
    streams = {
        "users": users,
        "groups": groups,
        _MEMBER_LISTS: groups | {"params": {"attributes": "id,members"} if selects else {}},
    }
    if cursors and sized:
        for stream in streams.values():
            stream["params"] = {**stream["params"], "count": count}
    shared = {name: getattr(config, name) for name in Connection.model_fields}
    return RestData.model_validate({**shared, "streams": streams})


def open_scim(
    config: ScimData,
    stream: str,
    *,
    ref: IntegrationRef | None = None,
    secrets: Secrets,
    limits: FetchLimits,
) -> Source:
    """A stream of a SCIM provider."""
    if stream == "group_memberships":
        lists = ScimSource(config, _MEMBER_LISTS, ref=ref, secrets=secrets, limits=limits)
        return ScimMembers(lists, lists.group, lists.client)
    return ScimSource(config, stream, ref=ref, secrets=secrets, limits=limits)


class ScimSource:
    """One listing of a SCIM provider. A cursor is the REST source's own."""

    resumable = True
    waits_for_provider = True

    def __init__(
        self,
        config: ScimData,
        stream: str,
        *,
        ref: IntegrationRef | None = None,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> None:
        self._config = config
        self._open = partial(
            RestSource,
            stream=stream,
            ref=ref,
            secrets=secrets,
            limits=limits,
            dialect=ScimDialect([parse(text) for text in config.fields.values()]),
        )
        self._plain = self._open(
            rest_data(config, cursors=config.pagination == "cursor", count=config.count)
        )
        self.client = self._plain.client
        self.records = self._plain.records
        self.fields = self._plain.fields
        self.incremental = self._plain.incremental
        self.probes = self._plain.probes
        self._chosen: RestSource | None = None
        self._recalled: tuple[KnownPage, ...] = ()
        self._lists_otherwise = False

    @property
    def snapshot(self) -> bool:
        return (self._chosen or self._plain).snapshot

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Request single records; with a filter if the provider is known to support filters."""
        return (self._chosen or self._plain).probe(missing, listed)

    @property
    def requests(self) -> int:
        """Requests sent for the configuration, the pages and single records."""
        return self._plain.requests + (0 if self._chosen is None else self._chosen.requests)

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one.

        If the server refuses a parameter by name, it is left out from then on.
        """
        advertised = self._advertised() if self._config.pagination == "auto" else None
        begun = False
        while True:
            chosen = self._chosen = self._choose(advertised, cursor)
            if self._lists_otherwise:
                chosen.otherwise()
            chosen.recall(self._recalled)
            try:
                for page in chosen.pages(cursor, since):
                    begun = True
                    yield page
                return
            except ProviderRefused as error:
                if begun or not self._leaves_out(error.parameters):
                    raise
                chosen.close()

    def group(self, key: str) -> Any:
        """One group with its members, in canonical form. Raises as `pages` does."""
        chosen = "" if "attributes" in self._config.unsupported else "?attributes=id,members"
        path = f"/Groups/{quote(key, safe='')}{chosen}"
        return self._plain.document("the members of a group", path)

    def otherwise(self) -> None:
        """From now on list with another page size."""
        self._lists_otherwise = True

    def recall(self, pages: Iterable[KnownPage]) -> None:
        """Have the provider send these pages only if they changed, from now on."""
        self._recalled = tuple(pages)

    def again(self, page: Page) -> Page:
        """Request a page in full that the provider reported as unchanged."""
        return page if self._chosen is None else self._chosen.again(page)

    def close(self) -> None:
        self._plain.close()
        if self._chosen is not None:
            self._chosen.close()

    def _leaves_out(self, refused: frozenset[str]) -> bool:
        """Leave out the optional parameters that a refusal names; return whether there are any."""
        found: set[Literal["count", "attributes"]] = set()
        if "count" in refused:
            found.add("count")
        if refused & {"attributes", "excludedAttributes"}:
            found.add("attributes")
        found -= set(self._config.unsupported)
        unsupported = [*self._config.unsupported, *sorted(found)]
        self._config = self._config.model_copy(update={"unsupported": unsupported})
        return bool(found)

    def _choose(self, advertised: Any, cursor: Cursor | None) -> RestSource:
        pagination = _member(advertised, "pagination")
        limits = (
            _member(pagination, "maxPageSize"),
            _member(_member(advertised, "filter"), "maxResults"),
        )
        count = min([self._config.count, *(one for one in limits if type(one) is int and one > 0)])
        match cursor:
            case _ if self._config.pagination != "auto":
                cursors = self._config.pagination == "cursor"
            # An extraction keeps the pagination it began with, whatever is advertised meanwhile.
            case {"at": str()}:
                cursors = True
            case {"at": int()}:
                cursors = False
            case _:
                cursors = _member(pagination, "cursor") is True
        filters = _member(_member(advertised, "filter"), "supported") is True
        return self._open(rest_data(self._config, cursors=cursors, count=count, filters=filters))

    def _advertised(self) -> Any:
        try:
            return self._plain.document("the service provider config", "/ServiceProviderConfig")
        except (ProviderRefused, PageUnreadable, ProviderUnavailable):
            # Some providers have no such document (404, 501, 500) or hide it. All support the
            # index.
            return None


def _member(document: Any, key: str) -> Any:
    """A member by its name, in upper or lower case."""
    found = document if isinstance(document, dict) else {}
    return next((value for name, value in found.items() if name.lower() == key.lower()), None)
