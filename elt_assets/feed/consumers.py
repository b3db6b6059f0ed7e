"""Consumers: the applications that read the feed, their tokens, scopes and positions.

Only the SHA-256 of a token is stored: the token is random and long, so that a slow hash would gain
nothing. The key that signs a webhook's messages is stored as a reference, like every secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

import msgspec

from elt_assets.config.secret_refs import SecretRef
from elt_assets.connectors.http.origin import Origin
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.feed.numbering import FeedState, number_entries
from elt_assets.feed.scope import Scope
from elt_assets.identifiers import checked_name
from elt_assets.storage.operational.database import OperationalDatabase, Row
from elt_assets.sync.clock import now

MOST_ENTRIES = 100
"""The most entries in one message of a webhook."""

_PREFIX = "eaf_"
_TOKEN = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")


class ConsumerEndpoint(msgspec.Struct, frozen=True):
    """The address to which a consumer's messages go, and a reference to the key that signs them."""

    endpoint: str
    secret: SecretRef


class Consumer(msgspec.Struct, frozen=True):
    """One consumer. `position` is the number up to which it is known to have all entries.

    `pending` is the last number of the message being sent. `stopped` says that this message is not
    sent again until a person decides. `batch` is how many entries the next message may have.
    """

    name: str
    scope: Scope
    webhook: ConsumerEndpoint | None
    position: int
    position_at: str
    created_at: str
    pending: int | None = None
    batch: int = MOST_ENTRIES
    failures: int = 0
    error: str | None = None
    retry_at: str | None = None
    stopped: bool = False


class Consumers:
    """The consumers of one installation."""

    def __init__(self, database: OperationalDatabase) -> None:
        self._database = database

    def add(
        self,
        name: str,
        scope: Scope,
        webhook: ConsumerEndpoint | None = None,
        *,
        after: str | None = None,
    ) -> str | None:
        """Register a consumer; return its token, which cannot be shown again.

        The consumer begins after the position `after`, or at the newest position if None. A webhook
        has no token: None is returned. Raises `InvalidInput` for a name that is taken or invalid.
        """
        checked_name(name, "consumer")
        if webhook is not None:
            check_endpoint(webhook.endpoint)
        token = None if webhook else new_token()
        state = number_entries(self._database)
        begins = state.head if after is None else state.begins(after)
        with self._database.transaction("feed consumers") as transaction:
            added = transaction.execute(
                "INSERT INTO feed_consumers VALUES"
                " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, 0, NULL, NULL, 0)"
                " ON CONFLICT (name) DO NOTHING",
                (
                    name,
                    None if token is None else _hash(token),
                    _list(scope.organizations),
                    _list(scope.streams),
                    _list(scope.fields),
                    None if webhook is None else webhook.endpoint,
                    None if webhook is None else webhook.secret.model_dump_json(),
                    begins,
                    now(),
                    now(),
                    MOST_ENTRIES,
                ),
            )
        if not added:
            raise InvalidInput(
                f"consumer {name} is registered already; choose another name, or remove it: "
                f"elt-assets feed consumers remove {name}"
            )
        return token

    def rotate(self, name: str) -> str:
        """Replace a consumer's token; the old one is invalid at once.

        Raises `NotFound`, or `InvalidInput` for a webhook.
        """
        if self.get(name).webhook is not None:
            raise InvalidInput(
                f"consumer {name} is a webhook and has no token: write another key to the place "
                "of its secret, after the old one and a space while the receiver may have either"
            )
        token = new_token()
        with self._database.transaction("feed consumers") as transaction:
            transaction.execute(
                "UPDATE feed_consumers SET token_hash = ? WHERE name = ?", (_hash(token), name)
            )
        return token

    def remove(self, name: str) -> None:
        """Delete a consumer; its token is invalid at once. Raises `NotFound`."""
        with self._database.transaction("feed consumers") as transaction:
            removed = transaction.execute("DELETE FROM feed_consumers WHERE name = ?", (name,))
        if not removed:
            raise _unknown(name)

    def get(self, name: str) -> Consumer:
        """The consumer of that name. Raises `NotFound`."""
        rows = self._database.rows("SELECT * FROM feed_consumers WHERE name = ?", (name,))
        if not rows:
            raise _unknown(name)
        return _consumer(rows[0])

    def all(self) -> list[Consumer]:
        """Every consumer, by name."""
        return [
            _consumer(row)
            for row in self._database.rows("SELECT * FROM feed_consumers ORDER BY name")
        ]

    def of_token(self, token: str) -> Consumer | None:
        """The consumer with this token; None if there is none."""
        if not _TOKEN.fullmatch(token):
            return None
        digest = _hash(token)
        rows = self._database.rows("SELECT * FROM feed_consumers WHERE token_hash = ?", (digest,))
        if not rows or not hmac.compare_digest(rows[0]["token_hash"], digest):
            return None
        return _consumer(rows[0])

    def replay(self, name: str, after: str, state: FeedState) -> Consumer:
        """Set a consumer to an earlier or later position, and clear its failure.

        Raises `NotFound`, or what `FeedState.number` raises.
        """
        self.get(name)
        self.move(name, state.begins(after))
        return self.get(name)

    def move(self, name: str, position: int) -> None:
        """Record that a consumer has all entries up to `position`; clear any failure."""
        with self._database.transaction("feed consumers") as transaction:
            transaction.execute(
                "UPDATE feed_consumers SET position = ?, position_at = ?, pending = NULL,"
                " failures = 0, error = NULL, retry_at = NULL, stopped = 0 WHERE name = ?",
                (position, now(), name),
            )

    def advance(self, consumer: Consumer, position: int) -> bool:
        """Record that a consumer has all entries up to `position`.

        False if its position was changed meanwhile; nothing is recorded then.
        """
        with self._database.transaction("feed consumers") as transaction:
            return bool(
                transaction.execute(
                    "UPDATE feed_consumers SET position = ?, position_at = ?, pending = NULL,"
                    " failures = 0, error = NULL, retry_at = NULL"
                    " WHERE name = ? AND position = ?",
                    (position, now(), consumer.name, consumer.position),
                )
            )

    def retry(self, name: str) -> None:
        """Have the failed message sent again at once.

        Raises `NotFound`, or `InvalidInput` when none failed.
        """
        failed = self._failed(name)
        self.put(
            msgspec.structs.replace(failed, failures=0, error=None, retry_at=None, stopped=False)
        )

    def skip(self, name: str) -> int:
        """Skip the failed message; return the number of its last entry.

        Raises `NotFound`, or `InvalidInput` when none failed.
        """
        failed = self._failed(name)
        position = failed.position if failed.pending is None else failed.pending
        self.move(name, position)
        return position

    def _failed(self, name: str) -> Consumer:
        consumer = self.get(name)
        if not (consumer.failures or consumer.stopped):
            raise InvalidInput(
                f"no message to {name} has failed; `elt-assets feed status` shows how it stands"
            )
        return consumer

    def put(self, consumer: Consumer) -> None:
        """Store the delivery state of a consumer, unless its position has changed meanwhile."""
        with self._database.transaction("feed consumers") as transaction:
            transaction.execute(
                "UPDATE feed_consumers SET pending = ?, batch = ?, failures = ?, error = ?,"
                " retry_at = ?, stopped = ? WHERE name = ? AND position = ?",
                (
                    consumer.pending,
                    consumer.batch,
                    consumer.failures,
                    consumer.error,
                    consumer.retry_at,
                    int(consumer.stopped),
                    consumer.name,
                    consumer.position,
                ),
            )


def check_endpoint(endpoint: str) -> None:
    """Raise `InvalidInput` unless `endpoint` is an address that may receive people's data."""
    try:
        origin = Origin.of(endpoint)
    except ValueError as error:
        raise InvalidInput(f"the endpoint {error}") from None
    if not origin.is_private:
        raise InvalidInput(f"the endpoint {origin} would get people's data in the clear: use https")


def new_token() -> str:
    """A random token; its prefix identifies it as a token of the feed."""
    return _PREFIX + secrets.token_urlsafe(32)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"there is no consumer {name[:64]!r}; `elt-assets feed consumers list` shows them"
    )


def _list(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else msgspec.json.encode(names).decode()


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else msgspec.json.decode(text, type=tuple[str, ...])


def _consumer(row: Row) -> Consumer:
    webhook = None
    if row["endpoint"] is not None:
        webhook = ConsumerEndpoint(row["endpoint"], SecretRef.model_validate_json(row["secret"]))
    return Consumer(
        name=row["name"],
        scope=Scope(_names(row["organizations"]), _names(row["streams"]), _names(row["fields"])),
        webhook=webhook,
        position=row["position"],
        position_at=row["position_at"],
        created_at=row["created_at"],
        pending=row["pending"],
        batch=row["batch"],
        failures=row["failures"],
        error=row["error"],
        retry_at=row["retry_at"],
        stopped=bool(row["stopped"]),
    )
