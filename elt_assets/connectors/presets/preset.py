"""Presets: well-known providers as data, so that a customer gives only a few values.

The module reads `presets/*.yaml`, builds the provider_data model of each one, and turns a
customer's values into a REST configuration. Facts about a provider are in the YAML.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.provider_fields import (
    OwnSafeguards,
    Priority,
    Secret,
    SourceName,
    Strict,
)
from elt_assets.connectors.rest.configuration.text_types import (
    FieldExpression,
    Parameter,
    Scalar,
)
from elt_assets.connectors.rest.provider_data import RateLimit, RestData, mistakes
from elt_assets.connectors.rest.rest_opening import open_rest
from elt_assets.connectors.source import Source
from elt_assets.identifiers import IntegrationRef


class Ask(BaseModel):
    """A question of a preset: one value that only the customer knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    secret: bool = False
    default: str | None = None
    optional: bool = False
    """Whether the customer may leave it out; the fields that need it are then left out, too."""
    pattern: str = r"[^\s\\{}?#@]{1,512}"


class Way(BaseModel):
    """One of several ways to authenticate: the questions it needs, and its `auth`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asks: tuple[str, ...]
    auth: dict[str, Any]


class Preset(BaseModel):
    """One provider, as its YAML describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    kind: Literal["identity", "hr", "work"]
    """What the provider is used for; presets of one kind share a page of the documentation."""
    documentation: str
    sources: tuple[str, ...]
    """Addresses of the provider's documentation that the preset was checked against."""
    checked: date
    """The date of that check."""
    about: str
    asks: dict[str, Ask]
    example: dict[str, Any]
    streams_need: str = ""
    """The permissions that streams other than users need, if the preset has such streams."""
    limits: tuple[str, ...] = ()
    """What the preset cannot do and what a customer must know, one sentence or more each."""
    rest: dict[str, Any]
    ways: tuple[Way, ...] = ()
    """The kinds of credentials, if the provider accepts several; the customer gives one kind."""

    def required(self, name: str) -> bool:
        """Whether every customer must answer the question `name`."""
        ask = self.asks[name]
        chosen = any(name in way.asks for way in self.ways)
        return ask.default is None and not ask.optional and not chosen

    def way(self, given: PresetData) -> Way | None:
        """The way whose questions are answered. Raises `ValueError` unless it is exactly one."""
        answered = {
            name for way in self.ways for name in way.asks if getattr(given, name) is not None
        }
        for way in self.ways:
            if answered == set(way.asks):
                return way
        if self.ways:
            raise ValueError(
                "give "
                + ", or ".join(" and ".join(way.asks) for way in self.ways)
                + ", one of them"
            )
        return None

    def configuration(self, given: PresetData) -> RestData:
        values: dict[str, Any] = {}
        for name, ask in self.asks.items():
            value = getattr(given, name)
            values[name] = (
                value
                if isinstance(value, SecretRef)
                else filled(
                    ask.default or "" if value is None else value,
                    {key: known for key, known in values.items() if isinstance(known, str)},
                )
            )
        way = self.way(given)
        rest = self.rest if way is None else {**self.rest, "auth": way.auth}
        unanswered = {name for name, ask in self.asks.items() if ask.optional and not values[name]}
        document = _substituted(_without(rest, unanswered), values)
        users = document["streams"]["users"]
        users["fields"] = {**users["fields"], **given.fields}
        users["params"] = {**users.get("params", {}), **given.params}
        for name in PresetData.model_fields:
            if name in given.model_fields_set and name not in ("fields", "params"):
                document[name] = getattr(given, name)
        return RestData.model_validate(document)


class PresetData(Strict):
    """The options that every preset takes, in addition to its own questions."""

    permission_source_name: SourceName = None
    fields: dict[str, FieldExpression] = Field(
        {}, description="Further fields of a user, or other expressions for the usual ones."
    )
    params: dict[Parameter, Scalar] = Field(
        {}, description="Further query parameters of the listing, e.g. a filter."
    )
    rate_limit: RateLimit = Field(
        RateLimit(), description="The rate at which requests may be sent to the provider."
    )
    safeguards: OwnSafeguards = None
    priority: Priority = 0
    allow_plain_http: bool = Field(
        False, description="Send credentials unencrypted to a host that is not this machine."
    )


@cache
def presets() -> dict[str, Preset]:
    """All presets by name, read once."""
    folder = resources.files("elt_assets.connectors") / "presets"
    return {
        file.name.removesuffix(".yaml"): Preset.model_validate(yaml.safe_load(file.read_text()))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    }


@cache
def model(name: str) -> type[PresetData]:
    """The provider_data model of a preset."""
    preset = presets()[name]
    questions: dict[str, Any] = {}
    for asked, ask in preset.asks.items():
        kind = Secret if ask.secret else _text(ask.pattern)
        if preset.required(asked):
            questions[asked] = (kind, Field(description=ask.description))
        elif ask.default is None:
            questions[asked] = (kind | None, Field(None, description=ask.description))
        else:
            described = f"{ask.description} Usually {ask.default}."
            questions[asked] = (_text(ask.pattern) | None, Field(None, description=described))

    offered = tuple(preset.rest["streams"])
    if len(offered) > 1:
        questions["streams"] = (
            list[Literal[offered]],  # type: ignore[valid-type]
            Field(["users"], min_length=1, description="What to read. " + preset.streams_need),
        )

    def readable(given: PresetData) -> PresetData:
        try:
            preset.configuration(given)
        except ValidationError as error:
            raise ValueError(mistakes(error)) from None
        return given

    checks: dict[str, Any] = {"readable": model_validator(mode="after")(readable)}
    made: type[PresetData] = create_model(
        f"{preset.title.title().replace(' ', '')}Data",
        __base__=PresetData,
        __doc__=preset.about,
        __validators__=checks,
        **questions,
    )
    return made


def open_preset(
    config: PresetData,
    stream: str,
    *,
    preset: str,
    ref: IntegrationRef | None = None,
    secrets: Secrets,
    limits: FetchLimits,
) -> Source:
    """Open a stream of a preset, by the REST configuration that the preset builds."""
    written = presets()[preset].configuration(config)
    return open_rest(written, stream, ref=ref, secrets=secrets, limits=limits)


def _text(pattern: str) -> Any:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError("does not have the expected form; see the field's description")
        return value

    return Annotated[str, AfterValidator(check)]


def _without(value: Any, names: set[str]) -> Any:
    """`value` without the members whose whole text is one of these questions in braces."""
    if not isinstance(value, dict):
        return value
    gone = {f"{{{name}}}" for name in names}
    return {
        key: _without(inner, names)
        for key, inner in value.items()
        if not (isinstance(inner, str) and inner in gone)
    }


def _substituted(value: Any, values: dict[str, Any]) -> Any:
    match value:
        case dict():
            return {key: _substituted(inner, values) for key, inner in value.items()}
        case list():
            return [_substituted(inner, values) for inner in value]
        case str():
            if value.startswith("{") and isinstance(values.get(value[1:-1]), SecretRef):
                return values[value[1:-1]]
            return filled(
                value, {k: known for k, known in values.items() if isinstance(known, str)}
            )
    return value
