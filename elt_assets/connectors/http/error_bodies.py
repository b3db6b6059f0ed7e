"""The provider's own error code from the body of an error, as far as it is safe to report.

Free text is dropped, because it may quote a person or a secret. The exception is SCIM's `detail`,
which is written for the client's developer; it is dropped when it contains an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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
    ("__type",),
    ("scimType",),
)
_LONGEST_DETAIL = 200


class _Codes(msgspec.Struct):
    """The top-level fields of a JSON object that may hold an error code."""

    error: Any = None
    code: Any = None
    error_code: Any = msgspec.field(name="errorCode", default=None)
    scim_type: Any = msgspec.field(name="scimType", default=None)


_NO_CODE = _Codes()
_AT_THE_TOP = msgspec.json.Decoder(_Codes)
_SLOW_DOWN = re.compile(
    rb'"(?:(?:user)?rateLimitExceeded|quotaExceeded)"'
    rb'|"ratelimited"'
    rb"|rate.?limit.{0,20}exceeded|exceeded.{0,30}rate.?limit|too many requests",
    re.IGNORECASE,
)
_SECONDARY = re.compile(rb"secondary.rate.limit|abuse detection", re.IGNORECASE)
_TOO_MANY = frozenset(
    {"ratelimited", "ratelimitexceeded", "userratelimitexceeded", "toomanyrequests", "throttled"}
)
_LONGEST_ERROR = 4_096
"""Bytes. A longer answer holds records."""
_UNSAID_WAIT = 60.0
"""Shortest wait in seconds for which GitHub asks when an answer does not say how long to wait.
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api (2026-11)"""
_PLACE_NAME = "(?:(?:page|next|skip|continuation)_?token|cursor)"
_EXPIRED_POSITION = re.compile(
    rf'"(?:Directory_)?(?:(?:expired|invalid)_?{_PLACE_NAME}|{_PLACE_NAME}_?expired)"'.encode(),
    re.IGNORECASE,
)
"""Microsoft Graph answers Directory_ExpiredPageToken, SCIM (RFC 9865) expiredCursor."""


def complaint(body: bytes) -> str:
    """The error code as a part of a message: `; invalid_token`. Empty without a code to report."""
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
    """Whether a refusal is about a quota: Google sends that with 403, Linear with 400."""
    return _SLOW_DOWN.search(body) is not None or _SECONDARY.search(body) is not None


def unsaid_wait(body: bytes) -> float | None:
    """The wait in seconds that GitHub documents for a secondary rate limit; None for others."""
    return _UNSAID_WAIT if _SECONDARY.search(body) is not None else None


def is_refusal_in_disguise(body: bytes) -> bool:
    """Whether an answer 200 reports too many requests, as Slack does with `ratelimited`."""
    if len(body) > _LONGEST_ERROR:
        return False
    try:
        # Most short answers are pages of a few records. This decoder builds none of them.
        if _AT_THE_TOP.decode(body) == _NO_CODE:
            return False
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    codes = (_code(document, place) for place in _PLACES)
    return any(code and code.lower().translate(_PLAIN) in _TOO_MANY for code in codes)


_PLAIN = str.maketrans("", "", "_-. ")


def named_in(body: bytes, names: Iterable[str]) -> frozenset[str]:
    """The parameter names among `names` that occur as words in an error body."""
    word = rb"(?<![A-Za-z0-9_])%b(?![A-Za-z0-9_])"
    return frozenset(
        name for name in names if re.search(word % re.escape(name.encode()), body, re.IGNORECASE)
    )


def speaks_of_expired_position(body: bytes) -> bool:
    """Whether a refusal says that the position in the request has expired."""
    return _EXPIRED_POSITION.search(body) is not None


def _code(document: Any, place: tuple[str, ...]) -> str | None:
    for key in place:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) and _CODE.fullmatch(document) else None
