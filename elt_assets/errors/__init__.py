"""Every error that this project raises on purpose, in one hierarchy.

Each class states whether another attempt can help. A message names what is wrong and what to do
about it, in words for the person who can act. It never contains a secret or personal data.
"""

from __future__ import annotations

from elt_assets.errors.foreign_text import visible


class EltAssetsError(Exception):
    """Base of all errors the platform raises on purpose; its text is fit for a user.

    Text that it quotes from a provider is limited in length and cannot control a terminal.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class InvalidInput(EltAssetsError):
    """Something a person typed or configured is wrong; nothing was written."""


class NotFound(InvalidInput):
    """The named integration, sync or file does not exist."""


class SyncError(EltAssetsError):
    """One integration's sync cannot continue. `retryable` says whether trying again can help."""

    retryable = False


class PermanentError(SyncError):
    """Trying again cannot help until a person changes something."""


class RetryableError(SyncError):
    """The same attempt may succeed later; committed batches are kept and continued."""

    retryable = True


class SecretMissing(PermanentError):
    """The secret of a reference ({env: …} or {file: …}) is missing or cannot be read."""


class ProviderRefused(PermanentError):
    """The provider refused the request: 401, 403, 404 and other 4xx."""

    parameters: frozenset[str] = frozenset()
    """The query parameters of the request that the provider's answer names."""


class PositionRefused(RetryableError):
    """The provider no longer accepts a saved position; the extraction starts over without it."""


class MarkRefused(PositionRefused):
    """The provider cannot list the changes since a mark; everything is listed instead."""


class ProviderUnavailable(RetryableError):
    """No usable answer: connection refused, timeout, 5xx, 429, a body cut short."""


class PageUnreadable(PermanentError):
    """A page arrived completely but is not as the configuration describes it."""


class TimeBudgetSpent(RetryableError):
    """Reading one integration took its whole time budget; a later attempt continues."""


class WarehouseBusy(RetryableError):
    """Another process or sync holds the integration's warehouse file."""


class WarehouseDamaged(PermanentError):
    """The integration's warehouse file cannot be read or is from another version."""


class DatabaseBusy(RetryableError):
    """The operational database stayed locked longer than the configured wait."""


class DatabaseDamaged(PermanentError):
    """The operational database cannot be read or disagrees with the change log."""


class DatabaseUnavailable(RetryableError):
    """The operational database's server cannot be reached, or the connection was lost."""


class DatabaseRefused(PermanentError):
    """The operational database refuses the account, a right, a name or a value."""


class DatabaseMoved(PermanentError):
    """The operational database was migrated to another place; this file is closed."""


class StorageFull(RetryableError):
    """The disk of the warehouse or the operational database has no space left."""


class WriteInterrupted(RetryableError):
    """A write failed but may have been committed; the next attempt checks what is stored."""


class Stopped(RetryableError):
    """The run was asked to stop; committed batches are kept and continued later."""


class BooksUnbalanced(PermanentError):
    """Counts that must agree differ; the sync was stopped before anything was applied."""
