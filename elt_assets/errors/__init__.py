"""Every error that this project raises on purpose, in one hierarchy.

Each class states whether another attempt can help. A message names what is wrong and what to do
about it, in words for the person who can act. It never contains a secret or personal data.
"""

from __future__ import annotations

from elt_assets.errors.foreign_text import visible


class EltAssetsError(Exception):
    """Base of all errors the platform raises on purpose; its text is fit for a user.

    What it quotes of a provider can steer nothing and has an end.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class InvalidInput(EltAssetsError):
    """Something a person typed or configured is wrong; nothing was written."""


class NotFound(InvalidInput):
    """The named integration, sync or file does not exist."""


class SyncError(EltAssetsError):
    """One integration's sync cannot go on. `retryable` says whether trying again can help."""

    retryable = False


class PermanentError(SyncError):
    """Trying again changes nothing until a person changes something."""


class RetryableError(SyncError):
    """The same attempt may succeed later; committed batches are kept and continued."""

    retryable = True


class SecretMissing(PermanentError):
    """A secret reference ({env: …} or {file: …}) leads nowhere."""


class ProviderRefused(PermanentError):
    """The provider answered and said no: 401, 403, 404 and other 4xx."""

    parameters: frozenset[str] = frozenset()
    """Query parameters of the request that the answer names."""


class PositionRefused(RetryableError):
    """The provider no longer takes a saved position; the extraction begins again without it."""


class MarkRefused(PositionRefused):
    """The provider cannot list the changes since a mark; everything is listed instead."""


class ProviderUnavailable(RetryableError):
    """No usable answer: connection refused, timeout, 5xx, 429, a body cut short."""


class PageUnreadable(PermanentError):
    """A page arrived whole and is not what the configuration promises."""


class TimeBudgetSpent(RetryableError):
    """Reading one integration took as long as it may take at a time."""


class WarehouseBusy(RetryableError):
    """Another process or sync holds the integration's warehouse file."""


class WarehouseDamaged(PermanentError):
    """The integration's warehouse file cannot be read or is from another version."""


class DatabaseBusy(RetryableError):
    """The operational database stayed locked longer than the configured wait."""


class DatabaseDamaged(PermanentError):
    """The operational database cannot be read or disagrees with the change log."""


class DatabaseUnavailable(RetryableError):
    """The operational database's server cannot be reached, or went away."""


class DatabaseRefused(PermanentError):
    """The operational database's server says no: to the account, a right, a name."""


class DatabaseMoved(PermanentError):
    """The operational database is somewhere else now; this one is closed."""


class StorageFull(RetryableError):
    """The disk under the warehouse or the operational database has no room left."""


class WriteInterrupted(RetryableError):
    """A write reported a failure and may have been committed; what is stored decides."""


class Stopped(RetryableError):
    """The run was asked to stop; committed batches are kept and continued later."""


class BooksUnbalanced(PermanentError):
    """Counts that must agree do not; the sync was stopped before anything was applied."""
