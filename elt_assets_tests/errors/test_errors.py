from __future__ import annotations

import inspect

import pytest

from elt_assets import errors
from elt_assets.errors import (
    EltAssetsError,
    InvalidInput,
    PermanentError,
    RetryableError,
    SyncError,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
ABSTRACT = {EltAssetsError, SyncError, PermanentError, RetryableError}


def test_every_error_is_caught_by_the_one_name() -> None:
    assert [kind for kind in ALL if not issubclass(kind, EltAssetsError)] == []


@pytest.mark.parametrize("kind", sorted(set(ALL) - ABSTRACT, key=lambda kind: kind.__name__))
def test_an_error_is_a_mistake_of_somebody_or_says_whether_trying_again_can_help(
    kind: type[EltAssetsError],
) -> None:
    families = (InvalidInput, PermanentError, RetryableError)
    assert sum(issubclass(kind, family) for family in families) == 1


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (errors.ProviderUnavailable, True),
        (errors.WarehouseBusy, True),
        (errors.DatabaseBusy, True),
        (errors.StorageFull, True),
        (errors.ProviderRefused, False),
        (errors.PageUnreadable, False),
        (errors.SecretMissing, False),
        (errors.WarehouseDamaged, False),
        (errors.DatabaseDamaged, False),
        (errors.BooksUnbalanced, False),
    ],
)
def test_a_retry_is_promised_only_where_it_can_help(kind: type[SyncError], retryable: bool) -> None:
    assert kind("acme:main: …").retryable is retryable
