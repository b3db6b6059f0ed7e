"""Translate errors of DuckDB and the system about a warehouse file to errors of this package."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from elt_assets.errors import (
    PermanentError,
    RetryableError,
    StorageFull,
    SyncError,
    WarehouseBusy,
    WarehouseDamaged,
)
from elt_assets.storage.warehouse.warehouse import Place, SharedFile

_DAMAGE = (
    "not a valid DuckDB",
    "orrupt",
    "checksum",
    "Serialization Error",
    "deserialize",
    "Could not read enough bytes",  # the file was cut short
    "Failure while replaying WAL",
)


def make_folder(ref: Place, folder: Path) -> None:
    """Create the folder and its parents, accessible to owner and group."""
    with refused_by_system(ref, folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o770)


@contextmanager
def refused_by_system(ref: Place, path: Path) -> Iterator[None]:
    """Raise `StorageFull` or `PermanentError` where the system refuses to create `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full(ref, path) from error
        raise PermanentError(
            f"{ref}: {path} cannot be made ({error.strerror}); "
            "move away what is in its place, or correct the rights"
        ) from error


def full(ref: Place | str, path: Path | str) -> StorageFull:
    """The error for a full disk."""
    return StorageFull(f"{ref}: no space left for {path}; free some space and sync again")


def limit_reached(
    error: duckdb.Error, text: str, ref: Place | str, path: Path | str
) -> SyncError | None:
    """The error for a full disk or a limit of memory or spill files; None for other errors."""
    if "No space left" in text or "out of disk space" in text.lower():
        return full(ref, path)
    if not isinstance(error, duckdb.OutOfMemoryException):
        return None
    if "max_temp_directory_size" in text:
        return StorageFull(
            f"{ref}: the warehouse needs more temporary files than ELT_ASSETS_WAREHOUSE_SPILL "
            "allows; raise it, or the memory of the warehouse"
        )
    cure = "raise ELT_ASSETS_WAREHOUSE_MEMORY or lower ELT_ASSETS_PAGES_PER_BATCH"
    if isinstance(ref, SharedFile):
        cure = "raise ELT_ASSETS_EVENTS_MEMORY"
    return RetryableError(f"{ref}: the warehouse needs more memory than its limit; {cure}")


def removed(ref: Place, path: Path) -> RetryableError:
    """The error for a reader whose file was removed before it was opened."""
    return RetryableError(
        f"{ref}: warehouse file {path} was removed before it could be read; "
        "`elt-assets integrations list` shows what is still registered"
    )


@contextmanager
def translated(ref: Place, path: Path) -> Iterator[None]:
    """Translate DuckDB's errors about the file; errors in the SQL itself are raised unchanged."""
    try:
        yield
    except duckdb.Error as error:
        translated = _translate(error, ref, path)
        if translated is None:
            raise
        raise translated from error


def _translate(error: duckdb.Error, ref: Place, path: Path) -> SyncError | None:
    text = str(error)
    if "Could not set lock" in text:
        holder = re.search(r"held in (.+?)\. (?:See|However)", text, re.DOTALL)
        who = holder.group(1) if holder else "another process"
        return WarehouseBusy(
            f"{ref}: warehouse file {path} is in use by {who}; "
            "wait for that sync to end, or stop it"
        )
    if "Unique file handle conflict" in text:
        return WarehouseBusy(
            f"{ref}: warehouse file {path} is in use by another sync of this process; "
            "wait for it to end"
        )
    if limit := limit_reached(error, text, ref, path):
        return limit
    fatal = isinstance(error, duckdb.FatalException | duckdb.InternalException)
    if fatal or any(sign in text for sign in _DAMAGE):
        return WarehouseDamaged(
            f"{ref}: warehouse file {path} is damaged ({type(error).__name__}); move it away "
            "and sync again: the latest table is untouched and the file is made again"
        )
    if "No such file or directory" in text:
        return WarehouseBusy(f"{ref}: warehouse file {path} was removed while it was opened")
    if "database does not exist" in text:
        return removed(ref, path)
    if isinstance(error, duckdb.IOException):
        return RetryableError(
            f"{ref}: warehouse file {path} cannot be used: {text.splitlines()[0]}"
        )
    return None
