"""Links and tokens that count in disguise: a record that leaves moves the records after it."""

from __future__ import annotations

import re
from typing import Any

_COUNTING = re.compile(
    r"[?&](_?(?:page|page_?number|offset|skip|start|start_?index|start_?at|from_?record|p))=(\d+)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d{1,9}")


def counts_in_disguise(cursor: Any) -> str | None:
    """What of a cursor to the next page counts pages or records, such as `page=2`; else None."""
    at = cursor.get("at") if isinstance(cursor, dict) else None
    if not isinstance(at, str):
        return None
    if found := _COUNTING.search(at):
        return f"{found[1]}={found[2]}"
    return f"the token {at}" if _NUMBER.fullmatch(at) else None
