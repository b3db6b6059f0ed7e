"""Bodies of requests for pages: JSON, a form, a GraphQL query, or XML.

The parameters of a pagination and of incremental reading are put into the body. The next page is
found in `pagination`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from xml.sax.saxutils import escape

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from elt_assets.connectors.http.http_client import Posted
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.mapping.expression_parser import parse_keys
from elt_assets.connectors.mapping.templates import (
    PERIOD_NAMES,
    TEMPLATE_NAMES,
    emptied,
    filled,
    placeholders,
)
from elt_assets.errors import InvalidInput, ProviderRefused, ProviderUnavailable

Values = Mapping[str, str | int]

_NAMES = (*TEMPLATE_NAMES, "parent", *PERIOD_NAMES)
_LONGEST_MESSAGE = 200
_TOO_MANY = frozenset({"ratelimited", "ratelimitexceeded", "throttled", "toomanyrequests"})
_DEEPEST = 16


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for member in value.values():
                yield from _texts(member)
        case list():
            for member in value:
                yield from _texts(member)


def _content(value: dict[str, Any]) -> dict[str, Any]:
    if _depth(value) > _DEEPEST:
        raise ValueError(f"is nested more than {_DEEPEST} levels deep")
    for text in _texts(value):
        try:
            placeholders(text, _NAMES)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
    return value


def _depth(value: Any) -> int:
    members: Collection[Any] = ()
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return 1 + max(map(_depth, members), default=0)
    return 0


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Content = Annotated[dict[str, Any], AfterValidator(_content)]


ContentType = Annotated[
    str,
    Field(
        pattern=r"^[\x21-\x7e][\x20-\x7e]{0,255}$",
        description="Content type of the requests, where the provider needs another one.",
    ),
]


class JsonBody(_Body):
    """Requests are sent by POST with a JSON object."""

    type: Literal["json"]
    content: Content = Field(
        {},
        description="The object, without secrets; its texts may hold {organization_id} and "
        "{integration_id}. Parameters of the pagination are put into it: page.after becomes the "
        "member after of the object page.",
    )

    content_type: ContentType = "application/json"


class FormBody(_Body):
    """Requests are sent by POST with a form."""

    type: Literal["form"]
    content: dict[str, str] = Field(
        {},
        description="The form's fields, without secrets; they may hold {organization_id} and "
        "{integration_id}. Parameters of the pagination are further fields.",
    )


class GraphQlBody(_Body):
    """Requests are sent by POST with a GraphQL query."""

    type: Literal["graphql"]
    query: str = Field(
        min_length=1,
        max_length=65_536,
        description="The query, with a variable for each parameter of the pagination.",
    )
    variables: Content = Field(
        {}, description="Variables of the query, in addition to those of the pagination."
    )


class XmlBody(_Body):
    """Requests are sent by POST with XML, such as a SOAP envelope."""

    type: Literal["xml"]
    content: str = Field(
        min_length=1,
        max_length=65_536,
        description="The document, without secrets. {organization_id}, {integration_id} and the "
        "parameters of the pagination stand in it in braces, e.g. {cursor}; a parameter without a "
        "value is empty.",
    )
    content_type: ContentType = "text/xml; charset=utf-8"


RequestBody = Annotated[JsonBody | FormBody | GraphQlBody | XmlBody, Field(discriminator="type")]


def texts(body: RequestBody) -> Iterator[str]:
    """Every text of a body in which names in braces are replaced."""
    yield from _texts(body.variables if isinstance(body, GraphQlBody) else body.content)


def check_names(body: RequestBody, parameters: Collection[str]) -> None:
    """Raise `InvalidInput` for a name in braces in XML that is not a parameter."""
    if isinstance(body, XmlBody):
        placeholders(body.content, {*_NAMES, *parameters})


@dataclass(frozen=True, slots=True)
class Body:
    """The body of one listing's requests."""

    described: RequestBody
    content: Mapping[str, Any]
    values: Values

    @classmethod
    def of(cls, described: RequestBody) -> Body:
        if isinstance(described, GraphQlBody):
            return cls(described, described.variables, {})
        if isinstance(described, XmlBody):
            return cls(described, {"": described.content}, {})
        return cls(described, described.content, {})

    def filled(self, names: Mapping[str, str]) -> Body:
        """The same body with names in braces replaced."""
        if isinstance(self.described, XmlBody):
            names = {name: escape(text) for name, text in names.items()}
        return replace(self, content=_filled(self.content, names))

    def having(self, values: Values) -> Body:
        """The same body with further parameters."""
        return replace(self, values={**self.values, **values})

    def emptied(self) -> Body:
        """The same kind of body with nothing but the parameters of a page."""
        return replace(self, content={}, values={})

    def posted(self, values: Values) -> Posted:
        values = {**self.values, **values}
        match self.described:
            case FormBody():
                fields = {**self.content, **values}
                return Posted("application/x-www-form-urlencoded", urlencode(fields))
            case GraphQlBody(query=query):
                document = {"query": query, "variables": _placed(self.content, values)}
                kind = "application/json"
            case JsonBody(content_type=kind):
                document = _placed(self.content, values)
            case XmlBody(content_type=kind):
                texts = {name: escape(str(value)) for name, value in values.items()}
                return Posted(kind, emptied(filled(self.content[""], texts)))
        return Posted(kind, json.dumps(document, ensure_ascii=False))

    def check(self, answer: bytes, what: str) -> None:
        """Raise the error that a GraphQL server reports in an answer with status 200.

        That is `ProviderUnavailable` for too many requests, and `ProviderRefused` for others.
        """
        if not isinstance(self.described, GraphQlBody) or b'"errors"' not in answer:
            return
        try:
            document = decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        errors = document.get("errors") if isinstance(document, dict) else None
        if not errors:
            return
        first = errors[0] if isinstance(errors, list) else errors
        code, message = _said(first)
        words = f"{what}: the GraphQL server answers with an error{message}"
        if code.lower().replace("_", "") in _TOO_MANY:
            raise ProviderUnavailable(words)
        raise ProviderRefused(f"{words}; correct query or variables of the body, or the rights")


def _said(error: Any) -> tuple[str, str]:
    """The code of a GraphQL error, and its message as far as it is safe to report."""
    found = error if isinstance(error, dict) else {}
    extensions = found.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else found.get("type")
    code = code if isinstance(code, str) and code.isascii() and code.isprintable() else ""
    message = found.get("message")
    if not isinstance(message, str) or "@" in message or not message.isprintable():
        message = ""
    parts = [part[:_LONGEST_MESSAGE] for part in (code, message) if part]
    return code, f" ({': '.join(parts)})" if parts else ""


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case str():
            return filled(value, names)
        case dict():
            return {name: _filled(member, names) for name, member in value.items()}
        case list():
            return [_filled(member, names) for member in value]
    return value


def _placed(content: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The object with each value at its path; anything but an object on the path is replaced."""
    document = dict(content)
    for path, value in values.items():
        *above, last = parse_keys(path)
        inner = document
        for key in above:
            found = inner.get(key)
            inner[key] = dict(found) if isinstance(found, dict) else {}
            inner = inner[key]
        inner[last] = value
    return document
