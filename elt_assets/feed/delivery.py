"""Webhook delivery: send each consumer its entries, signed and in order, until it has them all.

Messages follow the Standard Webhooks specification. Each consumer is sent one message at a time,
again under the same id until the endpoint accepts it. So each message arrives at least once and
none overtakes another. A consumer that fails delays only itself.
"""

from __future__ import annotations

import binascii
import hashlib
import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from standardwebhooks.webhooks import EmptyWebhookSecretError
from standardwebhooks.webhooks import Webhook as Signer

from elt_assets.config.egress import Egress
from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.config.settings import Settings
from elt_assets.connectors.http.deadline import Deadline
from elt_assets.connectors.http.exchange import HttpAnswer, HttpConnections, Message
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.http.outgoing import Outgoing
from elt_assets.errors import InvalidInput, SyncError
from elt_assets.feed.consumers import Consumer, Consumers
from elt_assets.feed.entries import read
from elt_assets.feed.numbering import FeedState, number_entries, number_of
from elt_assets.feed.retry_schedule import DeliveryResult, verdict, wait_after
from elt_assets.feed.scope import Scope
from elt_assets.feed.turns import turn
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.clock import now, text

log = logging.getLogger(__name__)

_TIMEOUT = 30.0
"""Seconds for one message and its answer; the specification recommends 15 to 30."""
_NAME_WITHIN = 5.0
_ROUND = 5.0
_LOOK_EVERY = 0.5
_AT_ONCE = 64
"""The number of consumers that are sent messages at once; each takes a thread that mostly waits."""


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Sends the webhook consumers of one installation the entries that they lack."""

    database: OperationalDatabase
    settings: Settings

    def deliver(self, *, seconds: float) -> int:
        """Send due messages for about `seconds`; return how many entries were accepted."""
        ends = time.monotonic() + seconds
        with ThreadPoolExecutor(_AT_ONCE, "delivery") as pool:
            return sum(pool.map(lambda name: self.deliver_to(name, ends), self.due()))

    def due(self) -> list[str]:
        """The consumers that lack entries and may be sent them now."""
        waiting = [one for one in Consumers(self.database).all() if _is_due(one)]
        if not waiting:
            return []
        state = number_entries(self.database)
        return [one.name for one in waiting if one.position < state.head]

    def deliver_to(self, name: str, ends: float) -> int:
        """Send one consumer its due messages until `ends`, unless another process does.

        Returns how many entries were accepted; `ends` is in seconds of `time.monotonic`.
        """
        with turn(self.database, self.settings.home, name) as mine:
            if not mine:
                return 0
            # Read again: another process may have had the turn meanwhile.
            consumer = Consumers(self.database).get(name)
            if not _is_due(consumer) or consumer.webhook is None:
                return 0
            outgoing = _outgoing(self.settings.egress_policy, consumer.scope)
            wire = HttpConnections(connections=1, outgoing=outgoing)
            try:
                return self._send_all(consumer, wire, ends)
            finally:
                wire.close()

    def _send_all(self, consumer: Consumer, wire: HttpConnections, ends: float) -> int:
        taken = 0
        while time.monotonic() < ends:
            state = number_entries(self.database)
            message = self._next(consumer, state)
            if message is None:
                return taken
            consumers = Consumers(self.database)
            if consumer.pending != message.last:
                # Stored before sending, so that the same message is sent again after a crash.
                consumer = msgspec.structs.replace(consumer, pending=message.last)
                consumers.put(consumer)
            result = self._sent(consumer, message, wire)
            if result is not None:
                consumers.put(result)
                if result.failures or result.stopped:
                    return taken
                consumer = result
                continue
            if not consumers.advance(consumer, message.last):
                return taken
            taken += len(message.entries)
            consumer = consumers.get(consumer.name)
        return taken

    def _next(self, consumer: Consumer, state: FeedState) -> _Batch | None:
        """The pending message, or else the next one; None at the end of the feed."""
        after = max(consumer.position, state.trimmed)
        while after < state.head:
            found = read(self.database, state, after, consumer.batch, consumer.scope)
            entries = [
                entry
                for entry in found.found
                if consumer.pending is None or number_of(entry["position"]) <= consumer.pending
            ]
            if entries:
                return _Batch(consumer.name, entries, number_of(entries[-1]["position"]), state)
            # None of these entries is for the consumer: advance past them.
            Consumers(self.database).advance(consumer, found.next)
            consumer = Consumers(self.database).get(consumer.name)
            after = max(found.next, consumer.position)
        return None

    def _sent(self, consumer: Consumer, message: _Batch, wire: HttpConnections) -> Consumer | None:
        """Send a message; None if it was accepted, else the consumer's state after the failure."""
        webhook = consumer.webhook
        if webhook is None:
            return None
        try:
            headers = message.headers(signers(webhook.secret))
            answer = wire.exchange(
                Message(
                    f"the webhook of {consumer.name}",
                    webhook.endpoint,
                    headers,
                    "POST",
                    message.body,
                ),
                _TIMEOUT,
                0,
                wanted=lambda _: False,
            )
        except (InvalidInput, SyncError) as error:
            return _failed(consumer, str(error), None)
        match verdict(answer.status, len(message.entries)):
            case DeliveryResult.TAKEN:
                return None
            case DeliveryResult.TOO_LARGE:
                return msgspec.structs.replace(
                    consumer, batch=max(1, len(message.entries) // 2), pending=None
                )
            case DeliveryResult.REFUSED_FOR_GOOD:
                return msgspec.structs.replace(
                    _failed(consumer, "the endpoint answered 410: it wants no more", None),
                    stopped=True,
                    retry_at=None,
                )
            case DeliveryResult.FAILED:
                return _failed(consumer, f"the endpoint answered {answer.status}", answer)


def keep_delivering(
    database: OperationalDatabase, settings: Settings, stop: threading.Event
) -> None:
    """Deliver new entries until `stop` is set. No consumer waits for another."""
    deliverer = Deliverer(database, settings)
    sending: dict[str, Future[int]] = {}
    with ThreadPoolExecutor(_AT_ONCE, "delivery") as pool:
        while not stop.wait(_LOOK_EVERY):
            for name in [name for name, one in sending.items() if one.done()]:
                _log_failure(sending.pop(name).exception())
            try:
                due = deliverer.due()
            except SyncError as error:
                _log_failure(error)
                continue
            for name in due:
                if name not in sending:
                    ends = time.monotonic() + _ROUND
                    sending[name] = pool.submit(deliverer.deliver_to, name, ends)


def _log_failure(error: BaseException | None) -> None:
    if error is not None:
        log.warning("webhooks were not delivered: %s", error)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The entries of one message."""

    consumer: str
    entries: list[dict[str, Any]]
    last: int
    state: FeedState

    @property
    def body(self) -> str:
        """The message's body, equal each time the message is sent."""
        return msgspec.json.encode(
            {
                "type": "feed.entries",
                "timestamp": self.entries[-1]["applied_at"],
                "data": {"entries": self.entries, "next": self.state.text(self.last)},
            }
        ).decode()

    def headers(self, keys: Iterable[Signer]) -> dict[str, str]:
        """The headers of the message, with its id, the time and a signature by each key."""
        of = f"{self.consumer}\n{self.entries[0]['position']}\n{self.state.text(self.last)}"
        identity = f"msg_{hashlib.sha256(of.encode()).hexdigest()[:32]}"
        moment = datetime.now(UTC)
        return {
            "Content-Type": "application/json",
            "User-Agent": "elt-assets",
            "webhook-id": identity,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": " ".join(key.sign(identity, moment, self.body) for key in keys),
        }


def signers(secret: SecretRef) -> list[Signer]:
    """A signer for each key in the secret; while keys are rotated it has two, separated by a space.

    Raises `InvalidInput` unless each is a key of 24 to 64 bytes, and `SecretMissing`.
    """
    found = []
    for key in Secrets().resolve(secret).split():
        try:
            size = len(binascii.a2b_base64(key.removeprefix("whsec_"), strict_mode=True))
            found.append(Signer(key))
        except (binascii.Error, ValueError, EmptyWebhookSecretError):
            size = 0
        if not 24 <= size <= 64:
            raise InvalidInput(
                "the secret of a webhook must be whsec_ and 24 to 64 random bytes in base64; make "
                "one: elt-assets feed secret"
            )
    if not found:
        raise InvalidInput("the secret of a webhook is empty; make one: elt-assets feed secret")
    return found


def _is_due(consumer: Consumer) -> bool:
    waits = consumer.retry_at is not None and consumer.retry_at > now()
    return consumer.webhook is not None and not consumer.stopped and not waits


def _failed(consumer: Consumer, error: str, answer: HttpAnswer | None) -> Consumer:
    failures = consumer.failures + 1
    wait = wait_after(failures, None if answer is None else answer.headers.get("Retry-After"))
    return msgspec.structs.replace(
        consumer,
        failures=failures,
        error=error,
        retry_at=None if wait is None else text(datetime.now(UTC) + wait),
        stopped=wait is None,
    )


def check_egress(egress: Egress, scope: Scope, endpoint: str) -> None:
    """Raise `ProviderRefused` if the egress policy forbids messages to the endpoint."""
    place = Origin.of(endpoint)
    # A host that does not resolve yet, or whose name server is slow, is checked when a message is
    # sent.
    with Deadline(_NAME_WITHIN) as deadline, suppress(OSError, UnicodeError):
        _outgoing(egress, scope).addresses(place.host.strip("[]"), place.port, deadline)


def _outgoing(egress: Egress, scope: Scope) -> Outgoing:
    """The egress rules for a scope; one of a single organization may use its networks, too."""
    organizations = scope.organizations or ()
    return Outgoing(egress, organizations[0] if len(organizations) == 1 else None)
