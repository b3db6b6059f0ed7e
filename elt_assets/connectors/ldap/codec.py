"""LDAP messages as bytes (RFC 4511): requests are encoded by ldap3, answers are decoded here.

ldap3's own decoder is slower and trusts the lengths in a message. Connecting, TLS, deadlines and
limits are in `session`.
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
from ldap3.protocol.microsoft import show_deleted_control
from ldap3.protocol.rfc2696 import paged_search_control
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.utils import asn1
from pyasn1.error import PyAsn1Error

from elt_assets.errors import InvalidInput, PageUnreadable

_asn1: Any = asn1
"""Typed as `Any`, because its stubs lack `encode`."""

Scope = Literal["base", "one_level", "subtree"]

_SCOPES: dict[Scope, str] = {"base": BASE, "one_level": LEVEL, "subtree": SUBTREE}
_PAGED = "1.2.840.113556.1.4.319"
_START_TLS = "1.3.6.1.4.1.1466.20037"
_BIND, _ENTRY, _DONE, _REFERENCE, _EXTENDED = 0x61, 0x64, 0x65, 0x73, 0x78
"""Tags of a server's answers (RFC 4511, section 4)."""
_REFERRALS = 0xA3
_MALFORMED = (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""Exceptions that ldap3 raises for an invalid filter, in addition to its own errors."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search request; with `page_size`, it requests the page after `cookie`."""

    base: str
    scope: Scope
    filter: str
    attributes: tuple[str, ...]
    page_size: int | None = None
    cookie: bytes = b""
    deleted: bool = False
    """Whether deleted objects are found, too (Active Directory)."""


@dataclass(frozen=True, slots=True)
class LdapEntry:
    """An entry: attribute names as the server spells them, values as bytes."""

    dn: str
    attributes: dict[str, list[bytes]]


@dataclass(frozen=True, slots=True)
class Reference:
    """A part of the tree that another server holds."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The end of an operation. `cookie` is None if the server did not page its answer."""

    code: int
    message: str
    referrals: tuple[str, ...]
    cookie: bytes | None


def bind_request(number: int, user: str, password: str) -> bytes:
    """The request of a simple bind; without a user, the bind is anonymous."""
    if user:
        return _message(number, "bindRequest", bind_operation(3, SIMPLE, user, password))
    return _message(number, "bindRequest", bind_operation(3, ANONYMOUS))


def start_tls_request(number: int) -> bytes:
    """The request of the extended operation StartTLS."""
    return _message(number, "extendedReq", extended_operation(_START_TLS))


def search_request(number: int, search: Search) -> bytes:
    """The request of a search. Raises `InvalidInput` for an invalid filter."""
    controls = [show_deleted_control(True)] if search.deleted else []
    if search.page_size is not None:
        # The control is critical, so a server that cannot page refuses the search and does not
        # list only a part.
        controls.append(paged_search_control(True, search.page_size, search.cookie))
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
        return _message(number, "searchRequest", request, controls or None)
    except (LDAPExceptionError, PyAsn1Error, *_MALFORMED):
        raise InvalidInput(f"{search.filter!r} is not an LDAP filter (RFC 4515)") from None


def check_filter(text: str) -> str:
    """Return the filter. Raises `ValueError` if it is invalid."""
    try:
        search_request(1, Search("", "base", text, ("1.1",)))
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    return text


def equals(attribute: str, value: bytes) -> str:
    """A filter for one value, with all bytes escaped but ASCII letters and digits."""
    return f"({attribute}={escaped(value)})"


def escaped(value: bytes) -> str:
    """A value escaped for a filter."""
    return "".join(
        chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"\\{byte:02x}"
        for byte in value
    )


def any_of(filters: Sequence[str]) -> str:
    """A filter that matches what one of `filters` matches."""
    return filters[0] if len(filters) == 1 else f"(|{''.join(filters)})"


def decoded(message: bytes) -> tuple[int, LdapEntry | Reference | Result | None]:
    """Decode a message to the number of its request and its content.

    The content is None for a message of another kind. Raises `PageUnreadable` for bytes that are
    not LDAP.
    """
    try:
        return _decoded(message)
    except (IndexError, ValueError):
        raise PageUnreadable("the server's answer is no LDAP message") from None


def _decoded(message: bytes) -> tuple[int, LdapEntry | Reference | Result | None]:
    ((_, begin, end),) = _parts(message, 0, len(message))
    (_, first, last), (operation, begin, end), *further = _parts(message, begin, end)
    number = int.from_bytes(message[first:last], "big")
    match operation:
        case operation if operation == _ENTRY:
            return number, _entry(message, begin, end)
        case operation if operation == _REFERENCE:
            urls = (_text(message[at:to]) for _, at, to in _parts(message, begin, end))
            return number, Reference(tuple(urls))
        case operation if operation in (_BIND, _DONE, _EXTENDED):
            return number, _result(message, begin, end, further)
    return number, None


def _entry(message: bytes, begin: int, end: int) -> LdapEntry:
    (_, first, last), (_, begin, end) = _parts(message, begin, end)
    attributes = {}
    for _, at, to in _parts(message, begin, end):
        (_, named, behind), (_, at, to) = _parts(message, at, to)
        values = [message[one:other] for _, one, other in _parts(message, at, to)]
        attributes[message[named:behind].decode()] = values
    return LdapEntry(message[first:last].decode(), attributes)


def _result(message: bytes, begin: int, end: int, further: Sequence[_Part]) -> Result:
    (_, at, to), _, (_, said, until), *rest = _parts(message, begin, end)
    referrals = [
        _text(message[one:other])
        for tag, inner, outer in rest
        if tag == _REFERRALS
        for _, one, other in _parts(message, inner, outer)
    ]
    cookie = None
    for _, inner, outer in further:
        for _, one, other in _parts(message, inner, outer):
            (_, named, behind), *_, (_, value, after) = _parts(message, one, other)
            if message[named:behind] == _PAGED.encode():
                ((_, value, after),) = _parts(message, value, after)
                _, (_, value, after) = _parts(message, value, after)
                cookie = message[value:after]
    code = int.from_bytes(message[at:to], "big")
    return Result(code, _text(message[said:until]), tuple(referrals), cookie)


_Part = tuple[int, int, int]
"""A part of a message: its tag, and where its content begins and ends."""


def _parts(message: bytes, at: int, end: int) -> list[_Part]:
    """The parts of a message between `at` and `end`, by their stated lengths (X.690, 8.1).

    Raises `ValueError` if a part exceeds `end`.
    """
    found = []
    while at < end:
        tag, length = message[at], message[at + 1]
        at += 2
        if length > 0x80:
            begin, at = at, at + length - 0x80
            length = int.from_bytes(message[begin:at], "big")
        if at + length > end:
            raise ValueError("a part is longer than the whole")
        found.append((tag, at, at + length))
        at += length
    return found


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _message(number: int, kind: str, request: Any, controls: Any = None) -> bytes:
    message = LDAPMessage()
    message["messageID"] = MessageID(number)
    message["protocolOp"] = ProtocolOp().setComponentByName(kind, request)
    built = build_controls_list(controls)
    if built is not None:
        message["controls"] = built
    return bytes(_asn1.encode(message))
