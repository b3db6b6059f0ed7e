"""The registry of connected integrations. Dagster's partitions mirror it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from elt_assets.connectors import catalog
from elt_assets.connectors.tenant_rules import (
    TRUSTED,
    TenantRules,
    environment_names,
    foreign_prefixes,
)
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.sync.clock import now
from elt_assets.sync.state.audit_log import Add, AuditLog
from elt_assets.sync.state.config_diff import changed_paths
from elt_assets.sync.streams import Stream

_ONE = "organization_id = ? AND id = ?"
_EVERY = "SELECT * FROM connected_integrations"
_NAMES = "names of integrations"
"""The lock of a registration: no other registration may run between its check and its insert."""


class Integration(msgspec.Struct, frozen=True):
    """A connected integration. `provider_data` refers to secrets and holds none.

    `removing` is set while the integration is being removed, and after its removal was
    interrupted: nothing starts for it then.
    """

    ref: IntegrationRef
    provider: str
    provider_data: dict[str, Any]
    enabled: bool
    removing: bool
    created_at: str
    updated_at: str

    @property
    def fingerprint(self) -> str:
        """A hash that identifies the configuration of an extraction; it contains no secret."""
        document = msgspec.json.encode([self.provider, self.provider_data], order="deterministic")
        return hashlib.sha256(document).hexdigest()

    def offers(self, stream: Stream) -> bool:
        """Whether the integration has records of `stream`; otherwise the stream is not synced."""
        return stream.name in catalog.streams(self.provider_data)


class NewIntegration(msgspec.Struct, frozen=True):
    """An integration to be registered, its provider_data not yet checked."""

    ref: IntegrationRef
    provider: str
    provider_data: object
    enabled: bool = True


class NotAdded(InvalidInput):
    """Integrations cannot be registered; `mistakes` has a line for each, by its number."""

    def __init__(self, mistakes: Mapping[int, str]) -> None:
        super().__init__("; ".join(mistakes.values()))
        self.mistakes = dict(mistakes)


class Registry:
    """The table `connected_integrations`."""

    def __init__(
        self,
        database: OperationalDatabase,
        rules: TenantRules = TRUSTED,
        audit_log: AuditLog | None = None,
    ) -> None:
        """Without an audit log, the registry can only be read."""
        self._database = database
        self.rules = rules
        self._audit_log = audit_log

    def _recording(self, on: str) -> AbstractContextManager[tuple[Transaction, Add]]:
        if self._audit_log is None:
            raise AssertionError("a registry without an audit log is only read")
        return self._audit_log.recording(on)

    def add(
        self, ref: IntegrationRef, provider: str, provider_data: object, *, if_absent: bool = False
    ) -> bool:
        """Validate and register; with `if_absent`, False when the integration already exists.

        Raises `InvalidInput` for an unknown provider, provider_data that does not fit it,
        an integration that exists already or is being removed, or whose name differs from that
        of another only in case.
        """
        checked = catalog.validate(provider, provider_data, rules=self.rules, ref=ref)
        moment = now()
        with self._recording(_NAMES) as (transaction, audited):
            _refuse_other_case(transaction, ref)
            if self.rules.strict:
                self._refuse_shared_prefixes(transaction, {ref: checked})
            added = transaction.execute(
                """
                INSERT INTO connected_integrations (
                    organization_id, id, provider, provider_data, created_at, updated_at
                )
                VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT DO NOTHING
                """,
                (
                    *ref.values,
                    provider,
                    msgspec.json.encode(checked).decode(),
                    moment,
                    moment,
                ),
            )
            leaving = not added and not registered(transaction, ref)
            if added:
                audited("add", ref, {"provider": provider, "changed": changed_paths({}, checked)})
        if leaving:
            raise InvalidInput(
                f"{ref} is being removed; once `elt-assets integrations remove {ref}` has ended "
                "that, it can be added again"
            )
        if not added and not if_absent:
            raise InvalidInput(
                f"{ref} is registered already; `elt-assets integrations update {ref}` changes "
                "its provider_data, and --if-absent leaves it as it is"
            )
        return bool(added)

    def add_all(
        self, new: Mapping[int, NewIntegration], *, dry_run: bool = False
    ) -> list[IntegrationRef]:
        """Register integrations by their number in a list: all of them, or none.

        Returns those that were not registered yet; with `dry_run`, those that would be added.
        Raises `NotAdded` when one of them cannot be registered, or is already registered with
        other contents.
        """
        checked, mistakes = self._checked(new)
        with self._recording(_NAMES) as (transaction, audited):
            known = {one.ref: one for one in map(_integration, transaction.rows(_EVERY))}
            mistakes = {**_conflicts(new, checked, known), **mistakes}
            if mistakes:
                raise NotAdded(mistakes)
            added = {number: one for number, one in new.items() if one.ref not in known}
            if self.rules.strict:
                self._refuse_shared_prefixes(
                    transaction, {one.ref: checked[number] for number, one in added.items()}
                )
            for number, one in () if dry_run else added.items():
                _insert(transaction, one, checked[number])
                changed = changed_paths({}, checked[number])
                audited("add", one.ref, {"provider": one.provider, "changed": changed})
                if not one.enabled:
                    audited("disable", one.ref)
        return [one.ref for one in added.values()]

    def _checked(
        self, new: Mapping[int, NewIntegration]
    ) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
        """The provider_data to store, and the mistake in each that is invalid, by number."""
        checked, mistakes = {}, {}
        for number, one in new.items():
            try:
                checked[number] = catalog.validate(
                    one.provider, one.provider_data, rules=self.rules, ref=one.ref
                )
            except InvalidInput as error:
                mistakes[number] = str(error)
        return checked, mistakes

    def get(self, ref: IntegrationRef) -> Integration:
        """The integration. Raises `NotFound`."""
        rows = self._database.rows(f"SELECT * FROM connected_integrations WHERE {_ONE}", ref.values)
        if not rows:
            raise NotFound(f"{ref} is not registered; `elt-assets integrations list` shows what is")
        return _integration(rows[0])

    def all(self, enabled: bool | None = None) -> list[Integration]:
        """All integrations in order of registration, or only the enabled or the disabled ones."""
        condition = "" if enabled is None else f"WHERE enabled = {int(enabled)}"
        rows = self._database.rows(
            f"SELECT * FROM connected_integrations {condition}"
            " ORDER BY created_at, organization_id, id"
        )
        return [_integration(row) for row in rows]

    def offering(self, stream: Stream, *, disabled: bool = False) -> list[IntegrationRef]:
        """The enabled integrations that offer `stream`, in order of registration.

        With `disabled`, also the disabled ones.
        """
        rows = self._database.rows(
            """
            SELECT organization_id, id, provider_data
            FROM connected_integrations
            WHERE enabled >= ?
            ORDER BY created_at, organization_id, id
            """,
            (int(not disabled),),
        )
        return [
            IntegrationRef(row["organization_id"], row["id"])
            for row in rows
            if stream.name in catalog.streams(_offered(row["provider_data"]))
        ]

    def update(self, ref: IntegrationRef, provider_data: object) -> bool:
        """Validate and replace the provider_data of an integration; False if it is unchanged.

        The next sync reads everything, so that records mapped by the old configuration are
        corrected. Raises `NotFound`, or `InvalidInput` for provider_data that does not fit the
        provider.
        """
        known = self.get(ref)
        checked = catalog.validate(known.provider, provider_data, rules=self.rules, ref=ref)
        if checked == known.provider_data:
            return False
        with self._recording(ref.partition_key) as (transaction, audited):
            audited("update", ref, {"changed": changed_paths(known.provider_data, checked)})
            if self.rules.strict:
                self._refuse_shared_prefixes(transaction, {ref: checked})
            transaction.execute(
                f"UPDATE connected_integrations SET provider_data = ?, updated_at = ? WHERE {_ONE}",
                (msgspec.json.encode(checked).decode(), now(), *ref.values),
            )
        return True

    def _refuse_shared_prefixes(
        self, transaction: Transaction, changed: Mapping[IntegrationRef, dict[str, Any]]
    ) -> None:
        """Raise `InvalidInput` if the prefix of a secret's name fits more than one organization."""
        known = {
            IntegrationRef(row["organization_id"], row["id"]): row["provider_data"]
            for row in transaction.rows(_EVERY)
        }
        others = {ref.organization_id for ref in known.keys() - changed.keys()}
        known |= {ref: msgspec.json.encode(data).decode() for ref, data in changed.items()}
        organizations = {ref.organization_id for ref in known}
        new = any(ref.organization_id not in others for ref in changed)
        for other, data in known.items():
            if other not in changed and not new:
                continue
            names = (
                name
                for name in environment_names(msgspec.json.decode(data))
                if not self.rules.lists(other, "env", name)
            )
            for name, owner in foreign_prefixes(names, other, organizations):
                raise InvalidInput(
                    f"{other} refers to secret env:{name}, whose prefix is organization {owner}'s "
                    "too: rename the variable, or add it to ELT_ASSETS_TENANT_SECRETS"
                )

    def set_enabled(self, ref: IntegrationRef, enabled: bool) -> None:
        """Enable or disable the integration. Raises `NotFound`."""
        self.get(ref)
        with self._recording(ref.partition_key) as (transaction, audited):
            audited("enable" if enabled else "disable", ref)
            transaction.execute(
                f"UPDATE connected_integrations SET enabled = ?, updated_at = ? WHERE {_ONE}",
                (int(enabled), now(), *ref.values),
            )


def registered(transaction: Transaction, ref: IntegrationRef) -> bool:
    """Whether the integration is registered and not being removed, as of this transaction."""
    return bool(
        transaction.value(
            f"SELECT count(*) AS n FROM connected_integrations WHERE {_ONE} AND removing = 0",
            ref.values,
        )
    )


def gone(ref: IntegrationRef, undone: str) -> NotFound:
    """The error for an integration that is not `registered`, or no longer is."""
    return NotFound(
        f"{ref} was removed meanwhile; {undone}. If it is still listed, its removal was "
        f"interrupted: `elt-assets integrations remove {ref}` ends it"
    )


def begin_removal(transaction: Transaction, ref: IntegrationRef, begun: bool = True) -> None:
    """Mark the integration as being removed, so that nothing starts for it, or clear the mark."""
    transaction.execute(
        f"UPDATE connected_integrations SET removing = ? WHERE {_ONE}", (int(begun), *ref.values)
    )


def remove(transaction: Transaction, ref: IntegrationRef) -> None:
    """Delete the integration's row."""
    transaction.execute(f"DELETE FROM connected_integrations WHERE {_ONE}", ref.values)


def _refuse_other_case(transaction: Transaction, ref: IntegrationRef) -> None:
    """Raise `InvalidInput` if the name of another integration differs only in case.

    File systems that ignore case (macOS, Windows) would keep both in one file.
    """
    alike = transaction.rows(
        """
        SELECT organization_id, id
        FROM connected_integrations
        WHERE lower(organization_id) = lower(?) AND lower(id) = lower(?)
        """,
        ref.values,
    )
    for other in (IntegrationRef(row["organization_id"], row["id"]) for row in alike):
        if other != ref:
            raise InvalidInput(_differs_in_case(ref, other))


def _differs_in_case(ref: IntegrationRef, other: IntegrationRef) -> str:
    return (
        f"{ref} differs from {other}, which is registered, only in upper and lower "
        "case; some file systems would keep both in one file: choose another name"
    )


def _name(ref: IntegrationRef) -> tuple[str, ...]:
    """The name in lower case, which must differ between any two integrations."""
    return tuple(part.lower() for part in ref.values)


def _conflicts(
    new: Mapping[int, NewIntegration],
    checked: Mapping[int, dict[str, Any]],
    known: Mapping[IntegrationRef, Integration],
) -> dict[int, str]:
    """Why integrations conflict with those that are `known` or with each other, by number."""
    found: dict[int, str] = {}
    names = {_name(ref): ref for ref in known}
    listed: set[IntegrationRef] = set()
    for number, one in new.items():
        named = names.setdefault(_name(one.ref), one.ref)
        if named != one.ref:
            found[number] = _differs_in_case(one.ref, named)
        elif one.ref in listed:
            found[number] = f"{one.ref} is in the list twice"
        elif one.ref in known and number in checked:
            mistake = _contradiction(known[one.ref], one, checked[number])
            if mistake is not None:
                found[number] = mistake
        listed.add(one.ref)
    return found


def _contradiction(
    known: Integration, new: NewIntegration, provider_data: dict[str, Any]
) -> str | None:
    if known.removing:
        return f"{new.ref} is being removed"
    registered_so = (known.provider, known.provider_data, known.enabled)
    if registered_so != (new.provider, provider_data, new.enabled):
        return (
            f"{new.ref} is registered with other contents; `elt-assets integrations update "
            f"{new.ref}`, `enable` and `disable` change it"
        )
    return None


def _insert(transaction: Transaction, new: NewIntegration, provider_data: dict[str, Any]) -> None:
    moment = now()
    transaction.execute(
        """
        INSERT INTO connected_integrations (
            organization_id, id, provider, provider_data, enabled, created_at, updated_at
        )
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        (
            *new.ref.values,
            new.provider,
            msgspec.json.encode(provider_data).decode(),
            int(new.enabled),
            moment,
            moment,
        ),
    )


class _Offered(msgspec.Struct):
    """The streams in provider_data; nothing else is decoded, because thousands are read at once."""

    streams: dict[str, msgspec.Raw] | list[str] | None = None


def _offered(provider_data: str) -> object:
    try:
        return {"streams": msgspec.json.decode(provider_data, type=_Offered).streams}
    except msgspec.ValidationError:
        return msgspec.json.decode(provider_data)


def _integration(row: Row) -> Integration:
    return Integration(
        ref=IntegrationRef(row["organization_id"], row["id"]),
        provider=row["provider"],
        provider_data=msgspec.json.decode(row["provider_data"]),
        enabled=bool(row["enabled"]),
        removing=bool(row["removing"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
