"""The checked types of text in provider_data: secrets, addresses, paths, expressions."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from elt_assets.config.durations import duration
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.mapping.expression_parser import parse, parse_condition, parse_keys
from elt_assets.connectors.mapping.templates import PERIOD_NAMES, TEMPLATE_NAMES, placeholders
from elt_assets.errors import InvalidInput

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
HEADER_VALUE = re.compile(r"[\x20-\x7e]*", re.ASCII)


def _url(value: str) -> str:
    try:
        Origin.of(value)
    except ValueError as error:
        raise ValueError(f"the URL {error}") from None
    if "?" in value or "#" in value:
        raise ValueError("the URL has a '?' or '#' in it; put parameters into params")
    return value


def _relative(value: str) -> str:
    if re.search(r"[\x00-\x20\x7f\\?#]", value) or "://" in value or value.startswith("//"):
        raise ValueError("write a path under api_endpoint, such as /users; parameters go to params")
    return value


def template(value: str) -> str:
    """Return `value`. Raises `ValueError` if it has an unknown name in braces."""
    _said(lambda: placeholders(value, (*TEMPLATE_NAMES, "parent", *PERIOD_NAMES)))
    return value


def _single_template(value: str) -> str:
    _said(lambda: placeholders(value, {*TEMPLATE_NAMES, "external_id"}))
    return value


def _keys(value: str) -> str:
    _said(lambda: parse_keys(value))
    if any(re.search(r'[\x00-\x1f"\\]', key) for key in parse_keys(value)):
        raise ValueError("a quote, a backslash or a control character in a name is not supported")
    return value


def _some_keys(value: str) -> str:
    if not value.strip():
        raise ValueError("write where it stands, such as data.next")
    return _keys(value)


def _condition(value: str) -> str:
    _said(lambda: parse_condition(value))
    return value


def _expression(value: str) -> str:
    _said(lambda: parse(value))
    return value


def _duration(value: str) -> str:
    duration(value)
    return value


def _said(check: Any) -> None:
    # Pydantic collects ValueErrors only.
    try:
        check()
    except InvalidInput as error:
        raise ValueError(str(error)) from None


Url = Annotated[str, Field(max_length=2048), AfterValidator(_url)]
RelativePath = Annotated[str, Field(max_length=2048), AfterValidator(_relative)]
StreamPath = Annotated[RelativePath, AfterValidator(template)]
SinglePath = Annotated[RelativePath, AfterValidator(_single_template)]
SingleParameter = Annotated[str, Field(max_length=2048), AfterValidator(_single_template)]
Keys = Annotated[str, AfterValidator(_keys)]
SomeKeys = Annotated[str, AfterValidator(_some_keys)]
ConditionText = Annotated[str, AfterValidator(_condition)]
FieldExpression = Annotated[str, AfterValidator(_expression)]
Duration = Annotated[str, AfterValidator(_duration)]
Parameter = Annotated[str, Field(min_length=1, max_length=128)]
Scalar = str | int | float | bool


def written(value: Scalar) -> str:
    """A parameter as it is sent; true and false are spelled as in JSON."""
    return value if isinstance(value, str) else json.dumps(value)


Scheme = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        description="Scheme in front of the token, e.g. SSWS or Zoho-oauthtoken.",
    ),
]
