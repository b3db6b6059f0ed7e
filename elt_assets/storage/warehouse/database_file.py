"""A DuckDB file in the file system: its log, its identity, its creation and removal.

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

_UNFINISHED = (0, 4096, 8192)  # size in bytes while DuckDB writes the three headers
_MAKING = ".making"  # contains the name of the file that the process holding its lock creates


def log_of(path: Path) -> Path:
    """The path of the file's write-ahead log, which does not always exist."""
    return path.with_name(path.name + ".wal")


def size_of(path: Path) -> int:
    """The size in bytes of the file and its write-ahead log."""
    return sum(part.stat().st_size for part in (path, log_of(path)) if part.exists())


def written(path: Path) -> tuple[object, ...]:
    """A value that changes when any process writes to the file or its log."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, log_of(path).exists()


def rewritten(path: Path) -> Path:
    """The path of the file's successor while it is written; it does not match `*.duckdb`."""
    return path.with_name(f".{path.name}.rewritten")


def unlink(path: Path) -> None:
    """Remove a file that no process has open, and its write-ahead log.

    The log is removed first: once the file is gone, another process may create a new one, with a
    log of its own.
    """
    for leftover in (log_of(path), path):
        leftover.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int] | None:
    """The identity (device, inode) of the file at `path`; None if there is none."""
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
    """Sync the folder, so that its entries survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_or_made_here(ref: Place, path: Path, root: Path) -> Iterator[tuple[int, int] | None]:
    """Yield the identity of the file; if there is none, exclude other creators during the block.

    DuckDB creates a file and locks it in two steps, and writes its headers in three more. A process
    that opened the file in between would find it damaged, and a process that is killed in between
    leaves it so. Therefore only one file below `root` is created at a time, and its name is written
    down meanwhile. If that file is found unfinished, the next creator removes it.
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
