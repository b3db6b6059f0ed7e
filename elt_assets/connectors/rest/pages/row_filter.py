"""Leave out the records of a page that do not belong to the stream.

A record that cannot be read is kept, so that it is reported and its user is not deleted.
"""

from __future__ import annotations

import msgspec

from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.json.malformed_records import UNREADABLE
from elt_assets.connectors.json.record_list import with_records
from elt_assets.connectors.mapping.evaluate import holds
from elt_assets.connectors.mapping.expressions import Expression
from elt_assets.errors import PageUnreadable


def kept(
    body: bytes, records: tuple[str, ...], condition: Expression, what: str
) -> tuple[bytes, int]:
    """The page with only the records that meet `condition`, and the number of these records."""
    try:
        return with_records(
            body, records, lambda found: [one for one in found if _is_counted(one, condition)]
        )
    except (msgspec.DecodeError, KeyError, RecursionError, UnicodeDecodeError):
        raise PageUnreadable(f"{what} cannot be filtered by where") from None


def _is_counted(record: msgspec.Raw, condition: Expression) -> bool:
    document = decode(record)
    if not isinstance(document, dict) or UNREADABLE in document:
        return True
    return holds(condition, document)
