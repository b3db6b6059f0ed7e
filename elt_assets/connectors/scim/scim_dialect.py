"""Normalize SCIM as servers write it to the form that RFC 7643 defines.

Names of attributes and schemas may be in any case, also those that an integration's own fields use.
E-mail addresses and members may be plain values or references, or stand without a list, and
`primary` may be text. E-mail addresses without a value are dropped.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from elt_assets.connectors.mapping.expressions import Expression, Path, Segment, Where
from elt_assets.connectors.rest.page_dialect import PageDialect

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
Names = dict[str, str]
"""The spelling of each name, by the name in lower case."""

_LISTS = ("emails", "members")
_LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:listresponse"
_LIST = msgspec.json.Decoder(list | None, float_hook=float)
_ANYTHING = msgspec.json.Decoder(float_hook=float)


class ScimDialect(PageDialect):
    """The SCIM dialect of one integration, with the names that its fields use."""

    def __init__(self, own: Collection[Expression] = ()) -> None:
        """The names in the expressions `own` are canonical where RFC 7643 does not define a name.

        In schemas outside RFC 7643 only these names are canonical; other names there are kept.
        """
        self._own: dict[str, str] = {}
        for expression in own:
            for name in _names_in(expression):
                self._own.setdefault(name.lower(), name)
        self._names = self._own | {name.lower(): name for name in _NAMES}

    def expression(self, expression: Expression) -> Expression:
        """The expression with its names in canonical form, as pages have them."""
        renamed: Expression = self._expression(expression)
        return renamed

    def body(self, body: bytes) -> bytes:
        """A list response or a resource in canonical form; the same bytes if it already is.

        A body that cannot be read is returned as it is: the envelope reports what is wrong.
        """
        try:
            page = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            renamed = self._renamed(page)
            if "Resources" not in renamed:
                return self._alone(body)
            records = _LIST.decode(renamed["Resources"])
            if not records:
                return body if renamed is page else msgspec.json.encode(renamed)
            raw = msgspec.json.decode(renamed["Resources"], type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        changed = [self._record(record) for record in records]
        if renamed is page and all(new is old for new, old in zip(changed, records, strict=True)):
            return body
        kept = [
            text if new is old else new
            for text, new, old in zip(raw, changed, records, strict=True)
        ]
        return msgspec.json.encode(renamed | {"Resources": kept})

    def _alone(self, body: bytes) -> bytes:
        """Normalize a resource, or a list response without `Resources`, which then gets null."""
        document = _ANYTHING.decode(body)
        found = self._record(document)
        schemas = found.get("schemas")
        if isinstance(schemas, list) and _LIST_RESPONSE in [str(one).lower() for one in schemas]:
            found = found | {"Resources": None}
        return body if found is document else msgspec.json.encode(found)

    def _renamed(self, value: dict[str, Any], known: Names | None = None) -> dict[str, Any]:
        """`value` with canonical names; the same object if its names are canonical already."""
        known = self._names if known is None else known
        names = {key: known.get(key.lower(), key) for key in value}
        if all(key == name for key, name in names.items()):
            return value
        # If both spellings occur, the canonical one is used.
        return {name: value[key] for key, name in names.items() if key == name or name not in value}

    def _record(self, record: Any) -> Any:
        if not isinstance(record, dict):
            return record
        named = self._deep(record)
        lists = {key: _list(named[key], key) for key in _LISTS if named.get(key) is not None}
        if all(new is named[key] for key, new in lists.items()):
            return named
        return named | lists

    def _deep(self, value: Any, known: Names | None = None) -> Any:
        if isinstance(value, list):
            members = [self._deep(one, known) for one in value]
            same = all(new is old for new, old in zip(members, value, strict=True))
            return value if same else members
        if not isinstance(value, dict):
            return value
        named = self._renamed(value, known)
        inner = {key: self._deep(one, self._below(key, known)) for key, one in named.items()}
        return named if all(inner[key] is one for key, one in named.items()) else inner

    def _below(self, key: str, known: Names | None) -> Names | None:
        """The canonical names below a key; below a schema outside RFC 7643, only `own` names."""
        return self._own if key.lower().startswith("urn:") and key not in _NAMES else known

    def _expression(self, part: Any) -> Any:
        match part:
            case Path(segments):
                known: Names | None = None
                renamed = []
                for segment in segments:
                    names = self._names if known is None else known
                    renamed.append(self._segment(segment, names))
                    if isinstance(renamed[-1], str):
                        known = self._below(renamed[-1], known)
                return Path(tuple(renamed))
            case tuple():
                return tuple(map(self._expression, part))
            case _ if is_dataclass(part) and not isinstance(part, type):
                inner = {
                    field.name: self._expression(getattr(part, field.name))
                    for field in fields(part)
                }
                return replace(part, **inner)
        return part

    def _segment(self, segment: Segment, known: Names) -> Segment:
        match segment:
            case str():
                return known.get(segment.lower(), segment)
            case Where(key=key):
                return replace(segment, key=known.get(key.lower(), key))
        return segment


def _names_in(part: Any) -> list[str]:
    """Every key that an expression uses, at any depth."""
    match part:
        case Path(segments):
            return [
                each.key if isinstance(each, Where) else each
                for each in segments
                if isinstance(each, Where | str)
            ]
        case tuple():
            return [name for each in part for name in _names_in(each)]
        case _ if is_dataclass(part) and not isinstance(part, type):
            return [name for field in fields(part) for name in _names_in(getattr(part, field.name))]
    return []


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
    if isinstance(one, dict) and one.get("value") is None and isinstance(one.get("$ref"), str):
        one = one | {"value": unquote(urlsplit(one["$ref"]).path.rstrip("/").rpartition("/")[2])}
    primary = one.get("primary") if isinstance(one, dict) else None
    if isinstance(primary, str | int) and not isinstance(primary, bool):
        return one | {"primary": _text(primary).lower() in ("true", "1")}
    return one


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
