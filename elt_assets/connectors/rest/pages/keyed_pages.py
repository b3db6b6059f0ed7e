"""Pages whose records stand in an object, each under its key, and not in a list."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from elt_assets.connectors.json.record_list import json_list
from elt_assets.connectors.rest.page_dialect import PageDialect


class KeyedDialect(PageDialect):
    """The values of the object at `records` are the list. A list, as PHP sends it, stays one."""

    def __init__(self, records: Sequence[str]) -> None:
        self._records = records

    def body(self, body: bytes) -> bytes:
        """The page with a list. One that has neither is left to the reader, which names it."""
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
