"""The home folder: create it, refuse one that every user can write to, repair permissions.

New files get their permissions from the umask of the process, because DuckDB, SQLite and Dagster
create files themselves.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from elt_assets.config.settings import Settings
from elt_assets.errors import InvalidInput

GroupAccess = Literal["none", "read", "write"]

_GROUP: dict[GroupAccess, int] = {"none": 0, "read": 0o050, "write": 0o070}
_EVERYBODY_WRITES = 0o002
_FILES_OF_A_FETCHER = 2  # the lock of its warehouse and a connection
_MOST_FILES_OF_A_FETCHER = 8  # with connections that prefetch pages
_OTHER_FILES = 256


def prepare_home(settings: Settings) -> None:
    """Create the home, and set the umask so that new files get the configured permissions.

    Raises `InvalidInput` for a home that every user of the machine can write to.
    """
    allowed = _allowed(settings)
    os.umask(0o777 & ~allowed)
    home = settings.home
    refuse_name(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        found = home.stat()
    except OSError as error:
        raise InvalidInput(
            f"the home folder {home} cannot be made ({error.strerror}); set ELT_ASSETS_HOME"
        ) from None
    if found.st_mode & _EVERYBODY_WRITES:
        raise InvalidInput(
            f"every user of this machine can write to the home folder {home} (mode "
            f"{stat.S_IMODE(found.st_mode):04o}): run elt-assets config secure, or chmod "
            f"{allowed:04o} {home}"
        )
    # A home that belongs to another account is a volume, whose creator chose its permissions.
    if found.st_uid == os.geteuid():
        _tighten(home, found, allowed)


def allow_open_files(settings: Settings) -> None:
    """Let this process open as many files as its extractions need, as far as the system allows.

    Raises `InvalidInput` if the system's limit is too low for `ELT_ASSETS_FETCHES`.
    """
    needed = settings.fetches * _FILES_OF_A_FETCHER + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise InvalidInput(
            f"ELT_ASSETS_FETCHES is {settings.fetches}, which needs {needed:,} open files, and "
            f"this process may open {hard:,}: lower it, or raise the limit (ulimit -Hn)"
        )
    wanted = settings.fetches * _MOST_FILES_OF_A_FETCHER + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def refuse_name(home: Path) -> None:
    """Raise `InvalidInput` for a path in which the installation's files cannot be opened."""
    if "?" in str(home):
        raise InvalidInput(
            f"the home folder {home} has a '?' in its path, which the address of a SQLite file in "
            "it cannot have: rename the folder, or set ELT_ASSETS_HOME"
        )


def loose(settings: Settings) -> Iterator[str]:
    """Files and folders of the home with more permissions than configured; a line for each."""
    for path, found in _files(settings):
        if stat.S_IMODE(found.st_mode) & ~_fitting(found, _allowed(settings)):
            yield f"{path} has mode {stat.S_IMODE(found.st_mode):04o}"


def secure_files(settings: Settings) -> int:
    """Remove excess permissions of the home and everything in it; return how many files changed."""
    return sum(_tighten(path, found, _allowed(settings)) for path, found in _files(settings))


def _allowed(settings: Settings) -> int:
    return 0o700 | _GROUP[settings.group_access]


def _fitting(found: os.stat_result, allowed: int) -> int:
    """The permissions that a file or folder may have.

    A folder may always have the setgid bit: it passes on the group and grants nothing.
    """
    if stat.S_ISDIR(found.st_mode):
        return allowed | stat.S_ISGID
    return allowed & 0o666


def _tighten(path: Path, found: os.stat_result, allowed: int) -> bool:
    mode = stat.S_IMODE(found.st_mode)
    fitting = mode & _fitting(found, allowed)
    if fitting == mode:
        return False
    path.chmod(fitting)
    return True


def _files(settings: Settings) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything in the home except dropped files, whose senders need other permissions."""
    home = settings.home
    if not home.is_dir():
        return
    yield home, home.stat()
    for place, folders, names in os.walk(home):
        if Path(place) == home and settings.drops_path.name in folders:
            folders.remove(settings.drops_path.name)
        for name in (*folders, *names):
            path = Path(place, name)
            found = path.lstat()
            if not stat.S_ISLNK(found.st_mode):
                yield path, found
