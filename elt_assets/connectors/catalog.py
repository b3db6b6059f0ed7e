"""Every provider by name: the only module through which the platform reaches a connector.

It finds the kind of source for a provider and checks its provider_data. A connector is imported
when its provider is first used: otherwise the connectors' libraries would take most of the start
time of a command that only shows users.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.connectors.tenant_rules import TenantRules
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef

DEFAULT_STREAM = "users"
"""The only stream of an integration whose provider_data declares none."""


class Opener(Protocol):
    """Makes the source of one stream from a checked configuration."""

    def __call__(
        self,
        config: Any,
        stream: str,
        *,
        ref: IntegrationRef | None,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> Source:
        """Open the source; nothing is sent and no secret is read before the first page."""


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """A provider: the model of its provider_data, and the opener of its sources."""

    model: type[BaseModel]
    open: Opener


def _dlt() -> ProviderKind:
    from elt_assets.connectors.dlt.dlt_data import DltData
    from elt_assets.connectors.dlt.dlt_source import DltSource

    return ProviderKind(DltData, DltSource)


def _ldap() -> ProviderKind:
    from elt_assets.connectors.ldap.ldap_data import LdapData
    from elt_assets.connectors.ldap.ldap_source import open_ldap

    return ProviderKind(LdapData, open_ldap)


def _files() -> ProviderKind:
    from elt_assets.connectors.files.files_data import FilesData
    from elt_assets.connectors.files.files_source import FilesSource

    return ProviderKind(FilesData, FilesSource)


def _sql() -> ProviderKind:
    from elt_assets.connectors.sql.sql_data import SqlData
    from elt_assets.connectors.sql.sql_source import SqlSource

    return ProviderKind(SqlData, SqlSource)


def _rest() -> ProviderKind:
    from elt_assets.connectors.rest.provider_data import RestData
    from elt_assets.connectors.rest.rest_opening import open_rest

    return ProviderKind(RestData, open_rest)


def _scim() -> ProviderKind:
    from elt_assets.connectors.scim.scim_source import ScimData, open_scim

    return ProviderKind(ScimData, open_scim)


def _preset(name: str) -> ProviderKind:
    from elt_assets.connectors.presets.preset import model, open_preset

    return ProviderKind(model(name), partial(open_preset, preset=name))


_KINDS: dict[str, Callable[[], ProviderKind]] = {
    "dlt": _dlt,
    "files": _files,
    "ldap": _ldap,
    "sql": _sql,
    "rest": _rest,
    "scim": _scim,
}


def providers() -> list[str]:
    """Names of all providers, in order."""
    from elt_assets.connectors.presets.preset import presets

    return sorted({*_KINDS, *presets()})


def validate(
    provider: str,
    provider_data: object,
    *,
    rules: TenantRules | None = None,
    ref: IntegrationRef | None = None,
) -> dict[str, Any]:
    """Return `provider_data` in its stored form. Raises `InvalidInput` naming each wrong field.

    With `rules`, it also raises `InvalidInput` for a secret, file or provider that the rules do
    not allow the integration `ref`.
    """
    config = _parsed(_kind(provider), provider_data)
    if rules is not None:
        rules.check(provider, config, ref)
    safeguards = getattr(config, "safeguards", None)
    if (
        safeguards is not None
        and safeguards.delete_confirmation == "none"
        and not getattr(config, "has_snapshot", False)
    ):
        raise InvalidInput(
            "safeguards.delete_confirmation: none needs a stream whose listing is one consistent "
            "state, and no stream is; leave it out, or declare such a stream (snapshot or complete)"
        )
    return config.model_dump(mode="json", exclude_unset=True)


def schema(provider: str) -> dict[str, Any]:
    """JSON Schema of the provider's provider_data."""
    return _kind(provider).model.model_json_schema()


def streams(provider_data: object) -> tuple[str, ...]:
    """Names of the streams that an integration offers, by its stored provider_data.

    The provider_data was checked when it was stored. It is not checked again, because schedules
    call this function for thousands of integrations. If this release cannot read the
    provider_data, the result is the default stream, and its sync reports the mistake.
    """
    named = provider_data.get("streams") if isinstance(provider_data, dict) else None
    return _names(named if isinstance(named, dict | list) else None)


def open_source(
    provider: str,
    provider_data: object,
    stream: str,
    *,
    secrets: Secrets,
    limits: FetchLimits,
    ref: IntegrationRef | None = None,
) -> Source:
    """A source of one stream. Nothing is sent and no secret is read before the first page.

    `ref` is the integration, for configurations that use its name.
    """
    kind = _kind(provider)
    config = _parsed(kind, provider_data)
    limits.rules.check(provider, config, ref)
    secrets.guard(partial(limits.rules.check_secret, ref=ref))
    if ref is not None:
        limits = limits.for_organization(ref.organization_id)
    offered = _names(getattr(config, "streams", None))
    if stream not in offered:
        raise InvalidInput(f"provider_data has no stream {stream!r}; it has {', '.join(offered)}")
    return kind.open(config, stream, ref=ref, secrets=secrets, limits=limits)


def open_period(
    provider: str,
    provider_data: object,
    stream: str,
    *,
    begin: str,
    end: str,
    secrets: Secrets,
    limits: FetchLimits,
    ref: IntegrationRef,
) -> Source:
    """A source of the records from `begin` up to `end`, for streams read a period at a time."""
    from elt_assets.connectors.rest.rest_source import RestSource

    source = open_source(provider, provider_data, stream, secrets=secrets, limits=limits, ref=ref)
    if not isinstance(source, RestSource):
        source.close()
        raise InvalidInput(f"provider {provider!r} cannot read {stream} for one period")
    return source.between(begin, end)


def _names(streams: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(streams or (DEFAULT_STREAM,))


def _parsed(kind: ProviderKind, provider_data: object) -> BaseModel:
    if not isinstance(provider_data, dict):
        raise InvalidInput("provider_data is not an object with fields")
    try:
        return kind.model.model_validate(provider_data)
    except ValidationError as error:
        from elt_assets.connectors.rest.provider_data import mistakes

        raise InvalidInput(f"provider_data: {mistakes(error)}") from None


@cache
def _kind(provider: str) -> ProviderKind:
    if provider in _KINDS:
        return _KINDS[provider]()
    known = providers()
    if provider in known:
        return _preset(provider)
    near = difflib.get_close_matches(provider, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise InvalidInput(f"provider {provider!r} is unknown{meant} (there is: {', '.join(known)})")
