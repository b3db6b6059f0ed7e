"""Record the address of `elt-assets dev`, so that other commands of the home find it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from elt_assets.config.settings import InvalidSettings, Settings, load_settings

DEFAULT_URL = "http://127.0.0.1:3000"

_FILE = "dev.json"


class _Running(msgspec.Struct):
    """The web server's address, and the process id of the `elt-assets dev` that runs it."""

    url: str
    pid: int


@contextmanager
def announced(settings: Settings, url: str) -> Iterator[None]:
    """Let other commands find the web server at `url` until the block ends."""
    file = settings.home / _FILE
    file.write_bytes(msgspec.json.encode(_Running(url, os.getpid())))
    try:
        yield
    finally:
        # Another `dev` of this home may have announced itself meanwhile.
        running = _read(file)
        if running is not None and running.pid == os.getpid():
            file.unlink(missing_ok=True)


def url_of_dev() -> str:
    """The address of this home's running `elt-assets dev`, else the default one."""
    try:
        running = _read(load_settings().home / _FILE)
    except InvalidSettings:
        return DEFAULT_URL
    return running.url if running is not None and _is_alive(running.pid) else DEFAULT_URL


def _read(file: Path) -> _Running | None:
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(file.read_bytes(), type=_Running)
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
