"""LDAP messages as bytes (RFC 4511), encoded and decoded by ldap3.

Only ldap3's protocol code is used. Connecting, TLS, deadlines and limits are in `session`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ldap3 import ANONYMOUS, BASE, DEREF_NEVER, LEVEL, SIMPLE, SUBTREE
from ldap3.core.exceptions import LDAPExceptionError
from ldap3.operation.bind import bind_operation
from ldap3.operation.extended import extended_operation
from ldap3.operation.search import search_operation
from ldap3.protocol.convert import build_controls_list
from ldap3.protocol.rfc2696 import paged_search_control
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.utils import asn1
from pyasn1.error import PyAsn1Error

from elt_assets.errors import InvalidInput, PageUnreadable

_asn1: Any = asn1
"""Its stubs know neither half of it."""

Scope = Literal["base", "one_level", "subtree"]

_SCOPES: dict[Scope, str] = {"base": BASE, "one_level": LEVEL, "subtree": SUBTREE}
_PAGED = "1.2.840.113556.1.4.319"
_START_TLS = "1.3.6.1.4.1.1466.20037"
_BIND, _ENTRY, _DONE, _REFERENCE, _EXTENDED = 1, 4, 5, 19, 24
_MALFORMED = (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Search:
    """A search request; with `page_size` it asks for one page that follows `cookie`."""

    base: str
    scope: Scope
    filter: str
    attributes: tuple[str, ...]
    page_size: int | None = None
    cookie: bytes = b""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: attribute names as the server spells them, values as bytes."""

    dn: str
    attributes: dict[str, list[bytes]]


@dataclass(frozen=True, slots=True)
class Reference:
    """A part of the tree that another server holds."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The end of an operation. `cookie` is None where the server did not page its answer."""

    code: int
    message: str
    referrals: tuple[str, ...]
    cookie: bytes | None


def bind_request(number: int, user: str, password: str) -> bytes:
    """A simple bind, anonymous without a user."""
    if user:
        return _message(number, "bindRequest", bind_operation(3, SIMPLE, user, password))
    return _message(number, "bindRequest", bind_operation(3, ANONYMOUS))


def start_tls_request(number: int) -> bytes:
    """The extended operation after which TLS is negotiated."""
    return _message(number, "extendedReq", extended_operation(_START_TLS))


def search_request(number: int, search: Search) -> bytes:
    """A search. Raises `InvalidInput` for a filter that is none."""
    controls = None
    if search.page_size is not None:
        # Critical: a server that cannot page must refuse instead of listing a part.
        controls = [paged_search_control(True, search.page_size, search.cookie)]
    try:
        request = search_operation(
            search.base,
            search.filter,
            _SCOPES[search.scope],
            DEREF_NEVER,
            list(search.attributes),
            0,
            0,
            False,
            False,
            False,
        )
        return _message(number, "searchRequest", request, controls)
    except (LDAPExceptionError, PyAsn1Error, *_MALFORMED):
        raise InvalidInput(f"{search.filter!r} is no LDAP filter (RFC 4515)") from None


def check_filter(text: str) -> str:
    """The filter itself. Raises `ValueError` where it is none."""
    try:
        search_request(1, Search("", "base", text, ("1.1",)))
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    return text


def equals(attribute: str, value: bytes) -> str:
    """A filter for one value, every byte of which is escaped where it has to be."""
    return f"({attribute}={escaped(value)})"


def escaped(value: bytes) -> str:
    """A value as it stands in a filter."""
    return "".join(
        chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\{byte:02x}"
        for byte in value
    )


def any_of(filters: Sequence[str]) -> str:
    """A filter that holds where one of `filters` does."""
    return filters[0] if len(filters) == 1 else f"(|{''.join(filters)})"


def decoded(message: bytes) -> tuple[int, Entry | Reference | Result | None]:
    """The number of the request that a message belongs to, and what it says.

    None is a message of another kind. Raises `PageUnreadable` for what is not LDAP.
    """
    try:
        return _decoded(_asn1.decode_message_fast(message))
    except _MALFORMED:
        raise PageUnreadable("the server's answer is no LDAP message") from None


def _decoded(found: dict[str, Any]) -> tuple[int, Entry | Reference | Result | None]:
    number, payload = found["messageID"], found["payload"]
    if not isinstance(number, int):
        raise ValueError(number)
    match found["protocolOp"]:
        case operation if operation == _ENTRY:
            attributes = {
                attribute[3][0][3].decode(): [value[3] for value in attribute[3][1][3]]
                for attribute in payload[1][3]
            }
            return number, Entry(payload[0][3].decode(), attributes)
        case operation if operation == _REFERENCE:
            return number, Reference(tuple(_text(one[3]) for one in payload))
        case operation if operation in (_BIND, _DONE, _EXTENDED):
            return number, _result(payload, found["controls"])
    return number, None


def _result(payload: Any, controls: Any) -> Result:
    referrals: tuple[str, ...] = ()
    for kind, _, tag, value in payload[3:]:
        if (kind, tag) == (2, 3) and isinstance(value, list):
            referrals = tuple(_text(one[3]) for one in value)
    cookie = None
    for control in controls or ():
        parts = control[3]
        if _text(parts[0][3]) == _PAGED:
            ((_, _, _, (_, given)),) = _asn1.decode_sequence(parts[-1][3], 0, len(parts[-1][3]))
            cookie = bytes(given[3])
    return Result(int(payload[0][3]), _text(payload[2][3]), referrals, cookie)


def _text(value: bytes) -> str:
    return bytes(value).decode("utf-8", "replace")


def _message(number: int, kind: str, request: Any, controls: Any = None) -> bytes:
    message = LDAPMessage()
    message["messageID"] = MessageID(number)
    message["protocolOp"] = ProtocolOp().setComponentByName(kind, request)
    built = build_controls_list(controls)
    if built is not None:
        message["controls"] = built
    return bytes(_asn1.encode(message))
