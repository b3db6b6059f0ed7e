"""The models of `pagination` in provider_data: how a listing continues from page to page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from elt_assets.connectors.provider_fields import Strict
from elt_assets.connectors.rest.configuration.text_types import (
    HEADER_NAME,
    FieldExpression,
    Parameter,
    SomeKeys,
    StreamPath,
)


class CursorPagination(Strict):
    """Each page holds a token that requests the next page; the last page holds none."""

    type: Literal["cursor"]
    cursor: SomeKeys | None = Field(None, description="Where a page has the token, e.g. data.next.")
    header: str | None = Field(None, description="Or the response header that holds the token.")
    param: Parameter = Field(description="Parameter that takes the token.")
    first: str | None = Field(
        None,
        max_length=128,
        description="Value of the parameter for the first page; not sent if left out.",
    )
    path: StreamPath | None = Field(
        None,
        description="Path of the pages after the first, if it differs from path, e.g. "
        "/members/continue; only the token is sent there.",
    )
    stop: list[str] = Field(
        [],
        max_length=16,
        description="Tokens that mark the last page, in addition to an empty one, 0 and -1.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> CursorPagination:
        if (self.cursor is None) == (self.header is None):
            raise ValueError("give the token's place as cursor or as header, one of the two")
        if self.header is not None and not HEADER_NAME.fullmatch(self.header):
            raise ValueError("header is not a header name")
        return self


class NextUrlPagination(Strict):
    """Each page holds the whole address of the next page; the last page holds none."""

    type: Literal["next_url"]
    url: SomeKeys = Field(description="Where a page has the address, e.g. @odata.nextLink.")


class LinkHeaderPagination(Strict):
    """The `Link` header with rel="next" holds the next page's address (RFC 8288)."""

    type: Literal["link_header"]


_REACH: int | None = Field(
    None,
    ge=1,
    description="The number of records to which the provider limits paging; a listing that "
    "reaches it is incomplete, whatever its total says.",
)


class PagePagination(Strict):
    """Pages have numbers. The list ends at an empty page or at a short one that reaches `total`."""

    type: Literal["page"]
    param: Parameter = Field("page", description="Query parameter that takes the page's number.")
    start: int = Field(1, ge=0, le=1, description="Number of the first page.")
    size_param: Parameter | None = Field(None, description="Parameter that takes the page size.")
    size: int = Field(100, ge=1, le=100_000, description="Records a page, sent as size_param.")
    reach: int | None = _REACH


class OffsetPagination(Strict):
    """A page starts at a record's number. The list ends like one with numbered pages."""

    type: Literal["offset"]
    param: Parameter = Field("offset", description="Query parameter that takes the offset.")
    start: int = Field(0, ge=0, le=1, description="Number of the first record.")
    size_param: Parameter = Field("limit", description="Parameter that takes the page size.")
    size: int = Field(100, ge=1, le=100_000, description="Records a page, sent as size_param.")
    reach: int | None = _REACH


class KeysetPagination(Strict):
    """A page begins after the last record of the page before. The list ends at an empty page."""

    type: Literal["keyset"]
    key: FieldExpression = Field(
        "id", description="Where a record has the key by which the list is sorted (ascending)."
    )
    param: Parameter = Field(description="Parameter that takes the last key, e.g. since_id.")
    value: str = Field(
        "{key}", max_length=256, description="Value of the parameter; must hold {key}."
    )
    size_param: Parameter | None = Field(None, description="Parameter that takes the page size.")
    size: int = Field(100, ge=1, le=100_000, description="Records a page, sent as size_param.")

    @model_validator(mode="after")
    def _consistent(self) -> KeysetPagination:
        if "{key}" not in self.value:
            raise ValueError("value has no {key}, where the last record's key is to stand")
        return self


class ScimPagination(Strict):
    """SCIM's startIndex and count (RFC 7644, section 3.4.2.4)."""

    type: Literal["scim"]
    count: int | None = Field(
        100, ge=1, le=100_000, description="Records a page; not sent if null."
    )


class NoPagination(Strict):
    """All records are in one answer."""

    type: Literal["none"]


Pagination = Annotated[
    CursorPagination
    | NextUrlPagination
    | LinkHeaderPagination
    | PagePagination
    | OffsetPagination
    | KeysetPagination
    | ScimPagination
    | NoPagination,
    Field(discriminator="type"),
]
