"""What an error body says went wrong, as far as it can be repeated.

Belongs here: finding the provider's own code of an error. Does not: free text, which may
quote a person or a secret; the exception is SCIM's `detail`, which is written for the
client's developer and is left out when it holds an address.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from elt_assets.connectors.json.json_limits import decode

_SCIM_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{1,63}", re.ASCII)
_PLACES = (
    ("errorCode",),
    ("error", "code"),
    ("error", "status"),
    ("error",),
    ("code",),
    ("scimType",),
)
_LONGEST_DETAIL = 200
_SLOW_DOWN = re.compile(rb'"(?:(?:user)?rateLimitExceeded|quotaExceeded)"', re.IGNORECASE)


def complaint(body: bytes) -> str:
    """`; invalid_token`, or nothing where the body has no code that can be repeated."""
    try:
        document = decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    said = [code for code in (_code(document, place) for place in _PLACES) if code][:1]
    schemas = document.get("schemas")
    if isinstance(schemas, list) and _SCIM_ERROR in schemas:
        detail = document.get("detail")
        if isinstance(detail, str) and "@" not in detail and detail.isprintable():
            said.append(detail[:_LONGEST_DETAIL].rstrip(". "))
    return f"; {': '.join(said)}" if said else ""


def asks_to_slow_down(body: bytes) -> bool:
    """Whether a refusal is about a quota, as Google says it with a 403 and no header."""
    return _SLOW_DOWN.search(body) is not None


def _code(document: Any, place: tuple[str, ...]) -> str | None:
    for key in place:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) and _CODE.fullmatch(document) else None
