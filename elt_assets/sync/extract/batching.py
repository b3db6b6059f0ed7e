"""Group the pages of a source into batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from elt_assets.connectors.source import Page
from elt_assets.errors import SyncError


def batched(pages: Iterator[Page], size: int) -> Iterator[list[Page]]:
    """Yield `size` pages at a time; before raising an error, yield the pages fetched before it."""
    failure: SyncError | None = None
    while failure is None:
        batch: list[Page] = []
        try:
            batch.extend(islice(pages, size))
        except SyncError as error:
            failure = error
        if batch:
            yield batch
        if failure is None and (not batch or batch[-1].next is None):
            return
    raise failure
