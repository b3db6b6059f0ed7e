"""Parents that provider_data names itself, for a stream that is read from several endpoints.

`nested_lists` reads these parents like the records of a parent stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from elt_assets.connectors.http.http_client import Client
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.rest.rest_source import RestSource
from elt_assets.connectors.source import Cursor, FieldMap, Page


class NamedParents:
    """A source with one page, which has a record for each name. The lists send the requests."""

    fields: FieldMap = {"external_id": parse("name")}  # noqa: RUF012 (never changed)
    records: tuple[str, ...] = ()
    snapshot = True

    def __init__(self, names: Sequence[str], lists: RestSource) -> None:
        self._names = names
        self._lists = lists

    @property
    def client(self) -> Client:
        return self._lists.client

    @property
    def requests(self) -> int:
        return self._lists.requests

    def pages(self, cursor: Cursor | None) -> Iterator[Page]:
        records = [{"name": name} for name in self._names]
        yield Page(msgspec.json.encode(records), len(records), next=None)

    def otherwise(self) -> None:
        """Do nothing: these parents do not come from a provider, whose paging could be wrong."""

    def close(self) -> None:
        """Do nothing: the owner of the lists closes them."""
