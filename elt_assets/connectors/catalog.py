"""Every provider by name: the only door through which the rest of the platform comes in.

Belongs here: finding the kind of source a provider is, and checking its provider_data.
Does not: knowing how any of them is read.
"""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError

from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.provider_data import RestData, mistakes
from elt_assets.connectors.rest import RestSource
from elt_assets.connectors.source import Source
from elt_assets.errors import InvalidInput
from elt_assets.secret_refs import Secrets

_MODELS: dict[str, type[RestData]] = {"rest": RestData}


def providers() -> list[str]:
    """Names of all providers, in order."""
    return sorted(_MODELS)


def validate(provider: str, provider_data: object) -> dict[str, Any]:
    """`provider_data` as it is stored. Raises `InvalidInput` naming each wrong field."""
    return _parsed(provider, provider_data).model_dump(mode="json", exclude_unset=True)


def schema(provider: str) -> dict[str, Any]:
    """JSON Schema of the provider's provider_data."""
    return _model(provider).model_json_schema()


def streams(provider: str, provider_data: object) -> tuple[str, ...]:
    """Names of the streams that an integration offers."""
    return tuple(_parsed(provider, provider_data).streams)


def open_source(
    provider: str,
    provider_data: object,
    stream: str,
    *,
    secrets: Secrets,
    limits: FetchLimits,
) -> Source:
    """A source of one stream. Nothing is sent and no secret is read before the first page."""
    config = _parsed(provider, provider_data)
    if stream not in config.streams:
        raise InvalidInput(
            f"provider_data has no stream {stream!r}; it has {', '.join(config.streams)}"
        )
    return RestSource(config, stream, secrets=secrets, limits=limits)


def _parsed(provider: str, provider_data: object) -> RestData:
    model = _model(provider)
    if not isinstance(provider_data, dict):
        raise InvalidInput("provider_data is not an object with fields")
    try:
        return model.model_validate(provider_data)
    except ValidationError as error:
        raise InvalidInput(f"provider_data: {mistakes(error)}") from None


def _model(provider: str) -> type[RestData]:
    if provider not in _MODELS:
        near = difflib.get_close_matches(provider, _MODELS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise InvalidInput(
            f"provider {provider!r} is unknown{meant} (there is: {', '.join(providers())})"
        )
    return _MODELS[provider]
