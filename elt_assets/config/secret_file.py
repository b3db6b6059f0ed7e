"""A file with a secret that is replaced after use, such as a rotating refresh token.

A process that uses such a secret locks the file meanwhile, so that no other process uses a secret
that is being replaced. Secrets are read in `secret_refs`.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elt_assets.errors import SecretMissing

_LOOKED_EVERY = 0.05
"""Seconds between two attempts to lock the file."""


@contextmanager
def alone_with(path: Path, patience: float) -> Iterator[None]:
    """Lock the file at `path` during the block, waiting up to `patience` seconds for the lock.

    Raises `TimeoutError`, and `SecretMissing` if the file cannot be read.
    """
    ends = time.monotonic() + patience
    while (file := _locked(path)) is None:
        if time.monotonic() >= ends:
            raise TimeoutError(f"secret file {path} is in use")
        time.sleep(_LOOKED_EVERY)
    try:
        yield
    finally:
        os.close(file)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of the current file; None while another process holds it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SecretMissing(
            f"secret file {path} cannot be read ({error.strerror}); create it or correct the path"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The file may have been replaced between open and lock; then the lock protects nothing.
        if os.fstat(file).st_ino == path.stat().st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def replace_secret(path: Path, value: str) -> None:
    """Replace the file's content by `value` in one step; only its owner can read it then.

    Raises `OSError`.
    """
    # A symbolic link stays; the file to which it leads is replaced.
    target = path.resolve(strict=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
