"""Memos: what the engine knows about a warehouse file, readable without opening the file.

A memo is valid while nothing has written to the file since. Opening the file for writing therefore
deletes the memos, and the write mark that they contain shows writes by other programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from elt_assets.storage.warehouse.database_file import written


class _Stored(msgspec.Struct, frozen=True):
    """The memos in the file next to the warehouse file."""

    written: str
    memos: dict[str, msgspec.Raw]


def read_memos(path: Path) -> dict[str, bytes]:
    """The valid memos about the warehouse file `path`, by name; none if it has been written to."""
    try:
        stored = msgspec.json.decode(_file_of(path).read_bytes(), type=_Stored)
        if stored.written != str(written(path)):
            return {}
    except (OSError, msgspec.DecodeError):
        return {}
    return {name: bytes(memo) for name, memo in stored.memos.items()}


def write_memos(path: Path, memos: Mapping[str, bytes]) -> None:
    """Keep `memos` (JSON) about the warehouse file `path`, which no process has open for writing.

    Nothing is kept if the system refuses: without memos a sync only takes longer.
    """
    texts = {name: msgspec.Raw(memo) for name, memo in memos.items()}
    with suppress(OSError):
        _file_of(path).write_bytes(msgspec.json.encode(_Stored(str(written(path)), texts)))


def delete_memos(path: Path) -> None:
    """Delete the memos about the warehouse file `path`."""
    _file_of(path).unlink(missing_ok=True)


def _file_of(path: Path) -> Path:
    return path.with_suffix(".memos")
