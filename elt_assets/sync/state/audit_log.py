"""The audit log: who decided or changed what, in entries that cannot be changed unnoticed.

Each entry carries an HMAC over itself and the entry before, with a key that is not in the database.
An account that can write the database but not read the key cannot change, remove or insert an
entry unnoticed. That the newest entries were cut off is noticed by comparing with a head that was
kept elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import Settings
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.storage.operational.sql_dialect import SqlDialect
from elt_assets.sync.clock import now
from elt_assets.sync.state.actor import account, acting_as

log = logging.getLogger(__name__)

TABLE = "audit_log"
KEY_FILE = "audit.key"
HEAD_FILE = "audit.head"
Detail = Mapping[str, Any]
Add = Callable[..., None]

_COLUMNS = "sequence, at, account, acting_as, action, partition, detail, key_id, mac"
_FIRST = "beginning"
_SHORTEST_KEY = 16
_NUMBER = re.compile("[0-9]{1,18}")


class AuditEntry(msgspec.Struct, frozen=True):
    """One decision or change. `partition` is None if the entry concerns no integration."""

    sequence: int
    at: str
    account: str
    acting_as: str | None
    action: str
    partition: str | None
    detail: dict[str, Any]
    key_id: str
    mac: str

    @property
    def head(self) -> str:
        """The text to keep elsewhere, in order to notice that entries were cut off."""
        return f"{self.sequence}:{self.mac}"


class Verified(msgspec.Struct, frozen=True):
    """A verification's result: the number of entries, the newest head, a sentence per problem."""

    entries: int
    head: str | None
    problems: list[str]
    compared: bool
    """Whether the log was compared with a kept head; only that shows that its end was cut off."""


def audit_tables(dialect: SqlDialect) -> list[str]:
    """Statements that create the table and refuse updates and deletes of its rows."""
    table = (
        f"CREATE TABLE IF NOT EXISTS {TABLE} (sequence INTEGER PRIMARY KEY, at TEXT NOT NULL,"
        " account TEXT NOT NULL, acting_as TEXT, action TEXT NOT NULL, partition TEXT,"
        " detail TEXT NOT NULL, key_id TEXT NOT NULL, mac TEXT NOT NULL)"
    )
    return [table, *dialect.append_only(TABLE)]


class AuditLog:
    """The log of one installation."""

    def __init__(self, database: OperationalDatabase, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._file = settings.home / KEY_FILE
        self._head_file = settings.home / HEAD_FILE

    @contextmanager
    def recording(self, on: str = "") -> Iterator[tuple[Transaction, Add]]:
        """Open a transaction, with a function that adds an audit entry to it.

        The changes and the entries are committed together or not at all. The function takes the
        action, the integration or None, and the detail.
        """
        added: list[tuple[str, IntegrationRef | None, Detail]] = []

        def add(action: str, ref: IntegrationRef | None, detail: Detail | None = None) -> None:
            added.append((action, ref, detail or {}))

        entry = None
        with self._database.transaction(on) as transaction:
            yield transaction, add
            # Entries are added last: PostgreSQL holds the lock on the log until the transaction
            # ends.
            for action, ref, detail in added:
                entry = self._append(transaction, action, ref, detail)
        if entry is not None:
            self._publish(entry)

    def record(self, action: str, ref: IntegrationRef | None, detail: Detail | None = None) -> None:
        """Add one entry."""
        with self.recording("audit log") as (_, add):
            add(action, ref, detail)

    @contextmanager
    def decision(self, action: str, ref: IntegrationRef, detail: Detail) -> Iterator[None]:
        """Add an entry before the block carries out the decision, and another if it fails."""
        self.record(action, ref, detail)
        try:
            yield
        except BaseException as error:
            with suppress(Exception):
                self.record(f"{action} failed", ref, {**detail, "error": type(error).__name__})
            raise

    def entries(self) -> list[AuditEntry]:
        """All entries, oldest first."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM {TABLE} ORDER BY sequence")
        return [_entry(row) for row in rows]

    def verify(self, head: str | None = None) -> Verified:
        """Check the HMAC and the number of every entry, and compare the log with the kept heads.

        The kept heads are `head` and the one in `audit.head`. Raises `InvalidInput` if the key is
        missing or wrong, or if `head` is malformed.
        """
        entries = self.entries()
        key = self._key(entries[-1].key_id if entries else None)
        problems = _flaws(entries, key)
        kept = [head] if head is not None else []
        with suppress(OSError):
            kept.append(self._head_file.read_text(encoding="ascii").strip())
        if not kept and self._settings.audit_key is None and self._file.exists():
            # The key and the head file are both written with the first entry.
            problems.append(
                f"{self._head_file} is missing next to the key: the end may have been cut off; "
                "compare with a head from the log (--head NUMBER:HMAC)"
            )
        macs = {entry.sequence: entry.mac for entry in entries}
        for known in dict.fromkeys(kept):
            sequence, colon, mac = known.partition(":")
            if not (colon and _NUMBER.fullmatch(sequence)):
                raise InvalidInput(f"{known!r} is no head of the audit log: write NUMBER:HMAC")
            if macs.get(int(sequence)) != mac:
                problems.append(
                    f"entry {sequence} is not the one whose head was kept: "
                    + ("it was replaced" if int(sequence) in macs else "the end was cut off")
                )
        newest = entries[-1].head if entries else None
        return Verified(len(entries), newest, problems, compared=bool(kept))

    def _append(
        self, transaction: Transaction, action: str, ref: IntegrationRef | None, detail: Detail
    ) -> AuditEntry:
        for statement in transaction.dialect.exclusive(TABLE):
            transaction.execute(statement)
        last = transaction.rows(
            f"SELECT sequence, mac, key_id FROM {TABLE} ORDER BY sequence DESC LIMIT 1"
        )
        key = self._key(last[0]["key_id"] if last else None)
        entry = AuditEntry(
            sequence=(last[0]["sequence"] if last else 0) + 1,
            at=now(),
            account=account(),
            acting_as=acting_as(),
            action=action,
            partition=None if ref is None else ref.partition_key,
            detail=dict(detail),
            key_id=_key_id(key),
            mac="",
        )
        entry = msgspec.structs.replace(
            entry, mac=_mac(key, last[0]["mac"] if last else _FIRST, entry)
        )
        values = msgspec.structs.asdict(entry) | {"detail": _text(entry.detail)}
        transaction.execute(
            f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            tuple(values.values()),
        )
        return entry

    def _publish(self, entry: AuditEntry) -> None:
        log.info("audit head %s: %s", entry.head, entry.action)
        # Written to a temporary file first, so that a crash leaves the previous head.
        unfinished = self._head_file.with_name(f".audit.head.{os.getpid()}")
        with suppress(OSError):
            unfinished.write_text(entry.head, encoding="ascii")
            os.replace(unfinished, self._head_file)

    def _key(self, key_id: str | None) -> bytes:
        """Return the key, creating it for the first entry (`key_id` None).

        Raises `InvalidInput` if the key does not match `key_id` or is too short.
        """
        if self._settings.audit_key is not None:
            key = Secrets().resolve(self._settings.audit_key).encode()
        else:
            if key_id is None:
                self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
                with suppress(FileExistsError):
                    descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(descriptor, "w", encoding="ascii") as file:
                        file.write(secrets.token_hex(32))
            key = self._file.read_bytes() if self._file.exists() else b""
        named = self._settings.audit_key
        place = self._file if named is None else named.env or named.file
        if key_id is not None and _key_id(key) != key_id:
            raise InvalidInput(
                f"the key with which the audit log was begun is not in {place}: copy it from "
                "the machine that has it, or name it in ELT_ASSETS_AUDIT_KEY (env:NAME or "
                "file:PATH)"
            )
        if len(key) < _SHORTEST_KEY:
            raise InvalidInput(
                f"the key of the audit log in {place} has {len(key)} characters, which can be "
                f"guessed; it must have {_SHORTEST_KEY} or more: openssl rand -hex 32 makes one"
            )
        return key


def _flaws(entries: list[AuditEntry], key: bytes) -> list[str]:
    problems: list[str] = []
    before, expected = _FIRST, 1
    for entry in entries:
        if entry.sequence != expected:
            problems.append(f"entries {expected} to {entry.sequence - 1} were removed")
            # The HMAC of this entry cannot be checked without the entry before.
        elif not hmac.compare_digest(entry.mac, _mac(key, before, entry)):
            problems.append(f"entry {entry.sequence} was changed or inserted")
        before, expected = entry.mac, entry.sequence + 1
    return problems


def _mac(key: bytes, before: str, entry: AuditEntry) -> str:
    signed = msgspec.structs.asdict(entry) | {"detail": _text(entry.detail), "mac": before}
    return hmac.new(key, msgspec.json.encode(signed, order="sorted"), hashlib.sha256).hexdigest()


def _key_id(key: bytes) -> str:
    return hmac.new(key, b"audit log", hashlib.sha256).hexdigest()[:16]


def _text(detail: Detail) -> str:
    return msgspec.json.encode(detail, order="sorted").decode()


def _entry(row: Row) -> AuditEntry:
    return msgspec.convert({**row, "detail": msgspec.json.decode(row["detail"])}, AuditEntry)
