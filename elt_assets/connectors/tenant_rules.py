"""What provider_data may refer to, depending on whether its author is trusted.

Under `trusted` the operator writes provider_data. Under `strict` tenants may write it: a secret
must carry their organization's prefix or be on the operator's list, a file must be below the
integration's own folder, and code is never run. Under `trusted` code is run only where the operator
allows it. Under both, no integration may use the secrets of the platform's own settings.

The platform's own files and databases are recognized in `own_places`; where connections may lead is
decided in `config.egress`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from elt_assets.config.secret_refs import AllowedSecret, SecretRef
from elt_assets.config.settings import Settings
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef

_SETTINGS = frozenset(f"ELT_ASSETS_{name.upper()}" for name in Settings.model_fields)
_NEVER = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True)
class TenantRules:
    """The rules of an installation."""

    strict: bool = False
    allow_code: bool = False
    allowed: tuple[AllowedSecret, ...] = ()
    own_secrets: frozenset[tuple[str, str]] = frozenset()
    home: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        own = (
            settings.operational_password,
            settings.warehouse_password,
            settings.dagster_password,
            settings.broker_password,
            settings.s3_key_id,
            settings.s3_secret,
            settings.alert_webhook,
            settings.alert_secret,
            settings.alert_slack,
            settings.smtp_password,
        )
        return cls(
            strict=settings.tenant_rules == "strict",
            allow_code=settings.allow_code,
            allowed=settings.tenant_secret_list,
            own_secrets=frozenset(_named(ref) for ref in own if isinstance(ref, SecretRef)),
            home=settings.home,
        )

    def check(self, provider: str, config: BaseModel, ref: IntegrationRef | None) -> None:
        """Raise `InvalidInput` if the rules forbid the provider, or a secret or file it names."""
        if provider == "dlt" and self.strict:
            raise InvalidInput(
                "provider dlt imports and runs code inside the platform, which "
                "ELT_ASSETS_TENANT_RULES=strict never allows; describe the provider as rest, or "
                "read a file that the code writes"
            )
        if provider == "dlt" and not self.allow_code:
            raise InvalidInput(
                "provider dlt imports and runs code inside the platform; set "
                "ELT_ASSETS_ALLOW_CODE=true if everyone who writes provider_data may do that"
            )
        connection = getattr(config, "connection", None)
        if self.strict and getattr(connection, "type", None) == "sqlite":
            raise InvalidInput(
                "a SQLite file is no source under ELT_ASSETS_TENANT_RULES=strict: its library "
                "follows links that a tenant may place; export it as CSV, JSON Lines or Parquet"
            )
        for secret in _secrets(config):
            self.check_secret(secret, ref)
        for path in _paths(config):
            self.check_path(path, ref)

    def check_secret(self, secret: SecretRef, ref: IntegrationRef | None) -> None:
        """Raise `InvalidInput` for a secret that the integration must not use."""
        kind, name = _named(secret)
        if (kind, name) in self.own_secrets or (kind == "env" and name in _SETTINGS):
            raise InvalidInput(
                f"secret {kind}:{name} is one of the platform's own; no integration may use it"
            )
        if kind == "file":
            path = Path(name).expanduser()
            _refuse_system(path)
            if self.home is not None and _is_below(path, self.home, except_for="demo"):
                raise InvalidInput(
                    f"secret file {name} is a file of the platform itself; keep it elsewhere"
                )
        if not self.strict:
            return
        if ref is not None:
            if self.lists(ref, kind, name):
                return
            if kind == "env" and name.startswith(prefix(ref.organization_id)):
                return
        wanted = (
            f"begin with {prefix(ref.organization_id)}" if ref and kind == "env" else "be listed"
        )
        raise InvalidInput(
            f"secret {kind}:{name} is not {_owner(ref)}'s: under ELT_ASSETS_TENANT_RULES=strict "
            f"it must {wanted}, or the operator adds it to ELT_ASSETS_TENANT_SECRETS"
        )

    def lists(self, ref: IntegrationRef, kind: str, name: str) -> bool:
        """Whether the operator's list gives the secret to the integration."""
        return any(entry.covers(ref.organization_id, kind, name) for entry in self.allowed)

    def check_path(self, path: Path, ref: IntegrationRef | None) -> None:
        """Raise `InvalidInput` for a file or folder that the integration must not read."""
        _refuse_system(path)
        if self.strict and not (ref is not None and self._is_below_own(path, ref)):
            own = "its own folder" if ref is None or self.home is None else self.own_folder(ref)
            raise InvalidInput(
                f"{path} is not below {own}: under ELT_ASSETS_TENANT_RULES=strict "
                f"{_owner(ref)} reads nothing else"
            )

    def own_folder(self, ref: IntegrationRef) -> Path:
        """The folder whose files the integration may read."""
        if self.home is None:
            raise AssertionError("rules of no installation")
        return drop_folder(self.home, ref)

    def _is_below_own(self, path: Path, ref: IntegrationRef) -> bool:
        return self.home is not None and path.resolve().is_relative_to(
            self.own_folder(ref).resolve()
        )


TRUSTED = TenantRules()
"""The rules that apply where no others are given."""


def drop_folder(home: Path, ref: IntegrationRef) -> Path:
    """The integration's own folder for files."""
    return home / "drops" / ref.organization_id / ref.integration_id


def prefix(organization_id: str) -> str:
    """The prefix of the environment variables that hold the organization's secrets."""
    return re.sub(r"[^A-Z0-9]", "_", organization_id.upper()) + "_"


def is_system(path: Path) -> bool:
    """Whether `path` leads to processes, devices or the kernel and not to a stored file."""
    places = (path, path.resolve())
    return any(place.is_relative_to(never) for never in _NEVER for place in places)


def _is_below(path: Path, home: Path, *, except_for: str) -> bool:
    """Whether `path` leads below `home`, but not below its folder `except_for`."""
    place, home = path.resolve(), home.resolve()
    return place.is_relative_to(home) and not place.is_relative_to(home / except_for)


def _refuse_system(path: Path) -> None:
    if is_system(path):
        raise InvalidInput(
            f"{path} leads to processes or devices of this machine; no integration reads those"
        )


def foreign_prefixes(
    names: Iterable[str], ref: IntegrationRef, organizations: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Each environment variable that also has another organization's prefix, and that organization.

    `ACME_EU_TOKEN` begins with the prefixes of `acme` and of `acme-eu`.
    """
    own = prefix(ref.organization_id)
    others = [one for one in organizations if one != ref.organization_id]
    for name in names:
        for other in others:
            if prefix(other).startswith(own) and name.startswith(prefix(other)):
                yield name, other


def environment_names(document: Any) -> Iterator[str]:
    """Every environment variable that provider_data refers to."""
    if isinstance(document, dict):
        if document.keys() == {"env"} and isinstance(document["env"], str):
            yield document["env"]
        for member in document.values():
            yield from environment_names(member)
    elif isinstance(document, list):
        for member in document:
            yield from environment_names(member)


def _secrets(value: Any) -> Iterator[SecretRef]:
    match value:
        case SecretRef():
            yield value
        case BaseModel():
            for name in type(value).model_fields:
                yield from _secrets(getattr(value, name))
        case dict():
            for member in value.values():
                yield from _secrets(member)
        case list() | tuple():
            for member in value:
                yield from _secrets(member)


def _paths(config: BaseModel) -> Iterator[Path]:
    connection = getattr(config, "connection", None)
    for holder, name in ((config, "directory"), (connection, "path"), (connection, "tls_ca")):
        path = getattr(holder, name, None)
        if isinstance(path, str):
            yield Path(path)


def _named(ref: SecretRef) -> tuple[str, str]:
    return ("env", ref.env) if ref.env is not None else ("file", str(ref.file))


def _owner(ref: IntegrationRef | None) -> str:
    return "an unnamed integration" if ref is None else str(ref)
