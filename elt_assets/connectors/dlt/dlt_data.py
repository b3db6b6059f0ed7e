"""The models of a dlt integration's provider_data, with their limits and error messages.

They accept references to secrets among the arguments. The code that provider_data names is imported
in `dlt_source`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.mapping.field_map import Fields, Unsorted, check_streams, check_unordered
from elt_assets.connectors.provider_fields import OwnSafeguards, Priority, SourceName, Strict

_NAME = r"[A-Za-z_]\w*"
_IMPORT_PATH = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*", re.ASCII)
_SECRET_ARGUMENTS = frozenset(
    {
        *("access_token", "api_key", "api_secret_key", "authorization", "client_secret"),
        *("password", "private_key", "refresh_token", "secret", "secret_key", "token"),
    }
)


def _import_path(value: str) -> str:
    if not _IMPORT_PATH.fullmatch(value):
        raise ValueError("write package.module:function, such as dlt.sources.rest_api:rest_api")
    return value


def _arguments(value: dict[str, Any]) -> dict[str, Any]:
    for name, argument in _members(value):
        if name.lower() in _SECRET_ARGUMENTS and isinstance(argument, str):
            raise ValueError(
                f"{name} is written out; give a secret as {{env: NAME}} or {{file: PATH}}"
            )
    return value


class DltStream(Strict):
    """One kind of record and the resource that yields it."""

    resource: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="Name of the resource in the source; the stream's own name when left out.",
    )
    page_size: int = Field(1_000, ge=1, le=50_000, description="Records of one page.")
    snapshot: bool = Field(
        False,
        description="Promises that one listing is one consistent state, so that a record that it "
        "lacks is gone.",
    )
    fields: Fields
    unordered: Unsorted = Field([])

    @model_validator(mode="after")
    def _sets(self) -> DltStream:
        check_unordered(self.fields, self.unordered)
        return self


class DltData(Strict):
    """provider_data of a dlt integration. The platform imports and executes `source`."""

    permission_source_name: SourceName = None
    source: Annotated[str, Field(max_length=512), AfterValidator(_import_path)] = Field(
        description="Where the source or resource is, as package.module:function."
    )
    arguments: Annotated[dict[str, Any], AfterValidator(_arguments)] = Field(
        {},
        description="Arguments of the function; an object {env: NAME} or {file: PATH} anywhere "
        "in them refers to a secret.",
    )
    streams: dict[str, DltStream] = Field(min_length=1, description="Streams by name: users.")
    safeguards: OwnSafeguards = None
    priority: Priority = 0

    @property
    def has_snapshot(self) -> bool:
        """Whether some stream promises that one listing is one consistent state."""
        return any(stream.snapshot for stream in self.streams.values())

    @model_validator(mode="after")
    def _named(self) -> DltData:
        check_streams({name: stream.fields for name, stream in self.streams.items()})
        return self


def with_secrets(value: Any, secrets: Secrets) -> Any:
    """`value` with every reference to a secret resolved. Raises `SecretMissing`."""
    match value:
        case dict():
            reference = _reference(value)
            if reference is not None:
                return secrets.resolve(reference)
            return {name: with_secrets(member, secrets) for name, member in value.items()}
        case list():
            return [with_secrets(member, secrets) for member in value]
    return value


def _reference(value: dict[str, Any]) -> SecretRef | None:
    if value.keys() not in ({"env"}, {"file"}):
        return None
    try:
        return SecretRef.model_validate(value)
    except ValidationError:
        return None


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            for name, member in value.items():
                yield str(name), member
                yield from _members(member)
        case list():
            for member in value:
                yield from _members(member)
