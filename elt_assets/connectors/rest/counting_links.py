"""Detect links and tokens that hide a page or record number.

With such a number, the removal of one record moves all later records to another position.
"""

from __future__ import annotations

import re
from typing import Any

_COUNTING = re.compile(
    r"[?&](_?(?:page|page_?number|offset|skip|start|start_?index|start_?at|from_?record|p))=(\d+)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d{1,9}")


def counts_in_disguise(cursor: Any) -> str | None:
    """The part of a cursor that counts pages or records, such as `page=2`; None without one."""
    at = cursor.get("at") if isinstance(cursor, dict) else None
    if not isinstance(at, str):
        return None
    if found := _COUNTING.search(at):
        return f"{found[1]}={found[2]}"
    return f"the token {at}" if _NUMBER.fullmatch(at) else None
