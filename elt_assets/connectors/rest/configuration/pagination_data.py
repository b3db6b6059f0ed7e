"""How provider_data says that a listing goes on from page to page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from elt_assets.connectors.rest.configuration.text_types import (
    HEADER_NAME,
    FieldExpression,
    Parameter,
    SomeKeys,
    Strict,
)


class CursorPagination(Strict):
    """Each page holds a token that asks for the next; none on the last."""

    type: Literal["cursor"]
    cursor: SomeKeys | None = Field(
        None, description="Where the token stands in a page, e.g. data.next."
    )
    header: str | None = Field(None, description="Or the response header that holds the token.")
    param: Parameter = Field(description="Parameter that takes the token.")
    first: str | None = Field(
        None, max_length=128, description="What the parameter holds for the first page, if sent."
    )
    stop: list[str] = Field(
        [],
        max_length=16,
        description="Tokens that mean that nothing follows, besides an empty one, 0 and -1.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> CursorPagination:
        if (self.cursor is None) == (self.header is None):
            raise ValueError("give the token's place as cursor or as header, one of the two")
        if self.header is not None and not HEADER_NAME.fullmatch(self.header):
            raise ValueError("header is not a header name")
        return self


class NextUrlPagination(Strict):
    """Each page holds the next page's whole address; none on the last."""

    type: Literal["next_url"]
    url: SomeKeys = Field(description="Where the address stands, e.g. @odata.nextLink.")


class LinkHeaderPagination(Strict):
    """The `Link` header with rel="next" holds the next page's address (RFC 8288)."""

    type: Literal["link_header"]


_REACH: int | None = Field(
    None,
    ge=1,
    description="How many records the provider lets be paged through at all; a listing that comes "
    "so far is incomplete, whatever its total says.",
)


class PagePagination(Strict):
    """Pages have numbers. The list ends at an empty page or at a short one that reaches `total`."""

    type: Literal["page"]
    param: Parameter = Field("page", description="Query parameter that takes the page's number.")
    start: int = Field(1, ge=0, le=1, description="Number of the first page.")
    size_param: Parameter | None = Field(None, description="Parameter that asks for a page size.")
    size: int = Field(100, ge=1, le=100_000, description="Records a page, sent as size_param.")
    reach: int | None = _REACH


class OffsetPagination(Strict):
    """A page starts at a record's number. The list ends as numbered pages do."""

    type: Literal["offset"]
    param: Parameter = Field("offset", description="Query parameter that takes the offset.")
    start: int = Field(0, ge=0, le=1, description="Number of the first record.")
    size_param: Parameter = Field("limit", description="Parameter that asks for a page size.")
    size: int = Field(100, ge=1, le=100_000, description="Records a page, sent as size_param.")
    reach: int | None = _REACH


class KeysetPagination(Strict):
    """A page begins behind the last record of the one before it. The list ends at an empty page."""

    type: Literal["keyset"]
    key: FieldExpression = Field(
        "id", description="Where a record holds the key by which the list is sorted, upwards."
    )
    param: Parameter = Field(description="Parameter that takes the last key, e.g. since_id.")
    value: str = Field(
        "{key}", max_length=256, description="What the parameter holds, {key} in it."
    )
    size_param: Parameter | None = Field(None, description="Parameter that asks for a page size.")
    size: int = Field(100, ge=1, le=100_000, description="Records a page, sent as size_param.")

    @model_validator(mode="after")
    def _consistent(self) -> KeysetPagination:
        if "{key}" not in self.value:
            raise ValueError("value has no {key}, where the last record's key is to stand")
        return self


class ScimPagination(Strict):
    """SCIM's startIndex and count (RFC 7644, section 3.4.2.4)."""

    type: Literal["scim"]
    count: int | None = Field(100, ge=1, le=100_000, description="Records a page; null: not sent.")


class NoPagination(Strict):
    """Everything is in one answer."""

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
