"""Leases: which process works on a warehouse file, whether or not it has the file open.

A lease is a lock on a separate small file. The system releases the lock when the process ends, in
whatever way. The file of a lease exists only while the lease is held, or after its holder was
killed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elt_assets.errors import WarehouseBusy
from elt_assets.storage.warehouse.file_errors import make_folder, refused_by_system
from elt_assets.storage.warehouse.warehouse import Place


class Leases:
    """The leases of all warehouse files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def taken(self, ref: Place, path: Path) -> Iterator[None]:
        """Hold the lease of `ref`, whose warehouse file is `path`, during the block.

        Raises `WarehouseBusy` at once when it is already held, by this process or another.
        """
        lock = self._folder / str(ref)
        make_folder(ref, self._folder)
        file = _locked(ref, path, lock)
        try:
            yield
        finally:
            # Removed while it is locked, so that another process creates a new file afterwards.
            lock.unlink(missing_ok=True)
            os.close(file)

    def refuse_if_taken(self, ref: Place, path: Path) -> None:
        """Raise `WarehouseBusy` while the lease of `ref` is held."""
        try:
            file = os.open(self._folder / str(ref), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            _lock(file, fcntl.LOCK_SH, ref, path)
        finally:
            os.close(file)


def _locked(ref: Place, path: Path, lock: Path) -> int:
    """A descriptor of the lease's file, locked; closing it ends the lease."""
    while True:
        with refused_by_system(ref, lock):
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            _lock(file, fcntl.LOCK_EX, ref, path)
            # The previous holder may have removed the file after it was opened here.
            if _is_at(file, lock):
                with suppress(OSError):  # a full disk: the lock holds even without the PID in it
                    os.ftruncate(file, 0)
                    os.pwrite(file, str(os.getpid()).encode(), 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: int, kind: int, ref: Place, path: Path) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 20, 0).decode()
        if holder == str(os.getpid()):
            raise WarehouseBusy(
                f"{ref}: warehouse file {path} is in use by another sync of this process; "
                "wait for it to end"
            ) from None
        raise WarehouseBusy(
            f"{ref}: warehouse file {path} is in use by another process (PID {holder or '?'}); "
            "wait for that sync to end, or stop it"
        ) from None
