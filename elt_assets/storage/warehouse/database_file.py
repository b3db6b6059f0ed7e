"""A DuckDB file as the system sees it: its log, its identity, its creation and removal.

Never read such a file with plain file I/O while any code may have it open: closing any descriptor
of the file drops the process's lock (POSIX).
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from elt_assets.storage.warehouse.file_errors import refused_by_system
from elt_assets.storage.warehouse.warehouse import Place

_UNFINISHED = (0, 4096, 8192)  # bytes of a file while its three headers are written
_MAKING = ".making"  # locked by the process that makes a file; it names the file


def log_of(path: Path) -> Path:
    """The file's write-ahead log, which DuckDB keeps next to it now and then."""
    return path.with_name(path.name + ".wal")


def size_of(path: Path) -> int:
    """Bytes of the file and of its write-ahead log."""
    return sum(part.stat().st_size for part in (path, log_of(path)) if part.exists())


def written(path: Path) -> tuple[object, ...]:
    """Differs when anybody has written to the file or its log."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, log_of(path).exists()


def rewritten(path: Path) -> Path:
    """The file's successor while it is written; not named as a warehouse, `*.duckdb`."""
    return path.with_name(f".{path.name}.rewritten")


def unlink(path: Path) -> None:
    """Remove a file that no process has open, and what DuckDB may have left next to it.

    The log first: once the file has gone a new one may be made, and that has a log of its own.
    """
    for leftover in (log_of(path), path):
        leftover.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is there, if any: another one in its place is another."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _may_be_unfinished(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size in _UNFINISHED


def reach_the_disk(folder: Path) -> None:
    """Have the names in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_or_made_here(ref: Place, path: Path, root: Path) -> Iterator[tuple[int, int] | None]:
    """Yield which file is there; if there is none, no other process makes one during the block.

    DuckDB makes a file and locks it in two steps, and writes its headers in three more. A
    process that came between would find a damaged one, and one that is killed there leaves it.
    Therefore files below `root` are made one after the other, and which one is noted meanwhile:
    what is noted and unfinished, the next one takes away.
    """
    found = identity(path)
    if found is not None and not _may_be_unfinished(path):
        yield found
        return
    with _making(ref, root / _MAKING) as note:
        noted = root / os.fsdecode(note.read())
        if _may_be_unfinished(noted):
            noted.unlink(missing_ok=True)
        with refused_by_system(ref, path):
            note.truncate(0)
            note.seek(0)
            note.write(os.fsencode(path.relative_to(root)))
        yield identity(path)
        note.truncate(0)


@contextmanager
def _making(ref: Place, lock: Path) -> Iterator[FileIO]:
    with refused_by_system(ref, lock):
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
        note = FileIO(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660), "r+")
    with note:
        fcntl.flock(note, fcntl.LOCK_EX)
        yield note
