"""Alerts: what a person must know, said once, for many integrations together.

Belongs here: which open matters there are, grouping them by cause, and posting a message to
a webhook. Does not: when to look (alert_sensor) or what is wrong (the ledger knows).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping

import msgspec
import urllib3

from elt_assets.errors import InvalidInput, RetryableError
from elt_assets.sync.fleet import cause_of
from elt_assets.sync.ledger import SyncRow
from elt_assets.sync.outcome import Status

SIGNATURE_HEADER = "X-Elt-Assets-Signature"
_NAMED = 5
_TIMEOUT = 10.0
_TRIES_BEFORE_ALARM = 3


class Matter(msgspec.Struct, frozen=True):
    """Something about one integration that is open. `key` tells it from others of its kind."""

    key: str
    kind: str
    partition: str
    cause: str


class Alert(msgspec.Struct, frozen=True):
    """One message about all integrations of one kind and cause."""

    kind: str
    cause: str
    count: int
    partitions: tuple[str, ...]

    @property
    def text(self) -> str:
        """The message in one line, naming a few of the integrations."""
        named = ", ".join(self.partitions[:_NAMED])
        more = f" and {self.count - _NAMED} more" if self.count > _NAMED else ""
        noun = "integration" if self.count == 1 else "integrations"
        return f"{self.kind}: {self.count} {noun} ({named}{more}): {self.cause}"


def open_matters(quarantined: Iterable[SyncRow], newest: Iterable[SyncRow]) -> list[Matter]:
    """What waits for a person: withheld deletes, and syncs that will not mend by themselves.

    A failure that may pass counts after its third attempt.
    """
    matters = [
        Matter(
            f"quarantine/{row.partition}/{row.stream}/{row.sync_id}",
            "quarantine",
            row.partition,
            "deletes wait for a decision (elt-assets quarantine list)",
        )
        for row in quarantined
    ]
    for row in newest:
        lasting = not row.retryable or row.attempts >= _TRIES_BEFORE_ALARM
        if row.status is Status.FAILED and lasting:
            matters.append(
                Matter(
                    f"failure/{row.partition}/{row.stream}/{row.sync_id}",
                    "failure",
                    row.partition,
                    cause_of(row.error, row.organization_id, row.connected_integration_id),
                )
            )
    return matters


def grouped(matters: Iterable[Matter]) -> list[Alert]:
    """One alert for each kind and cause, the widest first."""
    together: dict[tuple[str, str], list[str]] = {}
    for matter in matters:
        together.setdefault((matter.kind, matter.cause), []).append(matter.partition)
    alerts = [
        Alert(kind, cause, len(partitions), tuple(sorted(partitions)))
        for (kind, cause), partitions in together.items()
    ]
    return sorted(alerts, key=lambda alert: (-alert.count, alert.kind, alert.cause))


def post(url: str, alerts: Iterable[Alert], secret: str | None) -> None:
    """Post the alerts as one JSON document: `text` for people, `alerts` for programs.

    With `secret` the body is signed: SIGNATURE_HEADER holds `sha256=` and the HMAC-SHA256 in
    hexadecimal. Raises `InvalidInput` for an address that is none and `RetryableError` when
    the receiver does not take it; neither quotes the address, which often holds a token.
    """
    sent = list(alerts)
    body = msgspec.json.encode({"text": "\n".join(alert.text for alert in sent), "alerts": sent})
    headers: Mapping[str, str] = {"Content-Type": "application/json"}
    if secret:
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {**headers, SIGNATURE_HEADER: f"sha256={signature}"}
    if not re.match(r"https?://", url):
        raise InvalidInput("ELT_ASSETS_ALERT_WEBHOOK is not an http(s) address")
    try:
        with urllib3.PoolManager(timeout=_TIMEOUT, retries=False) as http:
            answer = http.request("POST", url, body=body, headers=headers, redirect=False)
    except urllib3.exceptions.HTTPError as error:
        raise RetryableError(f"the alert receiver did not answer: {type(error).__name__}") from None
    if answer.status >= 300:
        raise RetryableError(f"the alert receiver answered {answer.status}")
