"""Normalize SCIM as servers write it to the form that RFC 7643 defines.

It covers names of attributes and schemas in any case, e-mail addresses and members written as plain
values or without a list, `primary` as text, and empty lists, which are dropped.
"""

from __future__ import annotations

from typing import Any

import msgspec

_NAMES = [
    "schemas",
    "totalResults",
    "itemsPerPage",
    "startIndex",
    "Resources",
    "nextCursor",
    "previousCursor",
    "id",
    "externalId",
    "meta",
    "userName",
    "name",
    "displayName",
    "nickName",
    "profileUrl",
    "title",
    "userType",
    "preferredLanguage",
    "locale",
    "timezone",
    "active",
    "emails",
    "phoneNumbers",
    "ims",
    "photos",
    "addresses",
    "groups",
    "entitlements",
    "roles",
    "x509Certificates",
    "members",
    "value",
    "type",
    "primary",
    "display",
    "formatted",
    "familyName",
    "givenName",
    "middleName",
    "honorificPrefix",
    "honorificSuffix",
    "resourceType",
    "created",
    "lastModified",
    "location",
    "version",
    "employeeNumber",
    "costCenter",
    "organization",
    "division",
    "department",
    "manager",
    "urn:ietf:params:scim:schemas:core:2.0:User",
    "urn:ietf:params:scim:schemas:core:2.0:Group",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
]
_CANONICAL = {name.lower(): name for name in _NAMES}
_LISTS = ("emails", "members")
_LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:listresponse"


def canonical(body: bytes) -> bytes:
    """A list response or a resource in canonical form; the same bytes where it is in it already.

    A body that cannot be read is left as it is: the envelope says what is wrong with it.
    """
    try:
        page = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        renamed = _renamed(page)
        if "Resources" not in renamed:
            return _alone(body)
        records = msgspec.json.decode(renamed["Resources"], type=list | None)
        if not records:
            return body if renamed is page else msgspec.json.encode(renamed)
        raw = msgspec.json.decode(renamed["Resources"], type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    changed = [_record(record) for record in records]
    if renamed is page and all(new is old for new, old in zip(changed, records, strict=True)):
        return body
    kept = [
        text if new is old else new for text, new, old in zip(raw, changed, records, strict=True)
    ]
    return msgspec.json.encode(renamed | {"Resources": kept})


def _alone(body: bytes) -> bytes:
    """A resource, or a list response that leaves its empty list out."""
    document = msgspec.json.decode(body)
    found = _record(document)
    schemas = found.get("schemas")
    if isinstance(schemas, list) and _LIST_RESPONSE in [str(one).lower() for one in schemas]:
        found = found | {"Resources": None}
    return body if found is document else msgspec.json.encode(found)


def _renamed(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with canonical names; the same object where it has no others."""
    names = {key: _CANONICAL.get(key.lower(), key) for key in value}
    if all(key == name for key, name in names.items()):
        return value
    # Where both spellings stand, the canonical one holds.
    return {name: value[key] for key, name in names.items() if key == name or name not in value}


def _record(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    named = _deep(record)
    lists = {key: _list(named[key], key) for key in _LISTS if named.get(key) is not None}
    if all(new is named[key] for key, new in lists.items()):
        return named
    return named | lists


def _deep(value: Any) -> Any:
    if isinstance(value, list):
        members = [_deep(one) for one in value]
        same = all(new is old for new, old in zip(members, value, strict=True))
        return value if same else members
    if not isinstance(value, dict):
        return value
    named = _renamed(value)
    # What another schema calls its attributes is its own affair.
    inner = {
        key: one if key.startswith("urn:") and key not in _NAMES else _deep(one)
        for key, one in named.items()
    }
    return named if all(inner[key] is one for key, one in named.items()) else inner


def _list(value: Any, key: str) -> Any:
    if isinstance(value, bool):
        return value
    members = value if isinstance(value, list) else [value]
    found = [_member(one) for one in members]
    if key == "emails":
        found = [one for one in found if isinstance(one, dict) and _text(one.get("value"))]
    same = members is value and len(found) == len(members)
    return value if same and all(n is o for n, o in zip(found, members, strict=True)) else found


def _member(one: Any) -> Any:
    if isinstance(one, str | int | float) and not isinstance(one, bool):
        return {"value": one}
    primary = one.get("primary") if isinstance(one, dict) else None
    if isinstance(primary, str | int) and not isinstance(primary, bool):
        return one | {"primary": _text(primary).lower() in ("true", "1")}
    return one


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
