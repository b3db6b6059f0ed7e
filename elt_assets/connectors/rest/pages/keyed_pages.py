"""Pages with an object in place of the list, which has each record under its key."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from elt_assets.connectors.json.record_list import json_list
from elt_assets.connectors.rest.page_dialect import PageDialect


class KeyedDialect(PageDialect):
    """Replaces the object at `records` by the list of its values.

    A list there stays a list: PHP sends an empty object as one.
    """

    def __init__(self, records: Sequence[str]) -> None:
        self._records = records

    def body(self, body: bytes) -> bytes:
        """The page with a list. A page with neither stays as it is, and the reader reports it."""
        try:
            return _listed(body, self._records)
        except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError):
            return body


def _listed(body: bytes | msgspec.Raw, keys: Sequence[str]) -> bytes:
    page = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if not keys:
        return json_list([bytes(record) for record in page.values()])
    inner = msgspec.Raw(_listed(page[keys[0]], keys[1:]))
    return msgspec.json.encode(page | {keys[0]: inner})
