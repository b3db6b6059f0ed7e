"""Parents that provider_data names, instead of a stream that lists them: several endpoints in one.

`nested_lists` goes through them as through the records of a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from elt_assets.connectors.http.http_client import Client
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.rest.rest_source import RestSource
from elt_assets.connectors.source import Cursor, FieldMap, Page


class NamedParents:
    """One page with a record for each name. Requests are those of the lists."""

    fields: FieldMap = {"external_id": parse("name")}  # noqa: RUF012 (never changed)
    records: tuple[str, ...] = ()
    snapshot = True

    def __init__(self, names: Sequence[str], lists: RestSource) -> None:
        self._names = names
        self._lists = lists

    @property
    def client(self) -> Client:
        """What sends the requests for the lists."""
        return self._lists.client

    @property
    def requests(self) -> int:
        """Requests sent for the lists."""
        return self._lists.requests

    def pages(self, cursor: Cursor | None) -> Iterator[Page]:
        """The one page."""
        records = [{"name": name} for name in self._names]
        yield Page(msgspec.json.encode(records), len(records), next=None)

    def otherwise(self) -> None:
        """The order of the names is no claim of a provider."""

    def close(self) -> None:
        """The lists are closed by themselves."""
