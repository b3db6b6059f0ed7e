"""A file that holds one secret and is given the next one, such as a rotating refresh token.

A process that uses such a secret locks the file for that time, so that no process uses one
that another is replacing. Reading secrets is `secret_refs`'.
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
"""Seconds."""


@contextmanager
def alone_with(path: Path, patience: float) -> Iterator[None]:
    """Have the file at `path` for the block, after at most `patience` seconds.

    Raises `TimeoutError`, and `SecretMissing` where it is not there.
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
    """A descriptor that has the lock of the file as it is now; None while another has it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SecretMissing(
            f"secret file {path} cannot be read ({error.strerror}); create it or correct the path"
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been replaced between the two, and this is then the lock of no file.
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
    """Make `value` the file's content, for its owner alone; the whole of it or nothing.

    Raises `OSError`.
    """
    # A link stays one: what it leads to is replaced.
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
