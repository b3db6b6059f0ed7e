"""Which files a stream consists of at the moment, and whether they are complete.

The module finds files, opens them and computes their identity. It never touches files that are
still being written, files outside the folder, or the platform's own files.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from elt_assets.connectors.files.files_data import FilesData, FileStream
from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.connectors.tenant_rules import (
    TRUSTED,
    TenantRules,
    drop_folder,
    is_system,
)
from elt_assets.errors import PermanentError, RetryableError
from elt_assets.identifiers import IntegrationRef

# Suffixes that programs give a file while they are still writing or transferring it.
_UNFINISHED = (".incomplete", ".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload")
_MOST_FILES = 1_000
_MOST_SEEN = 100_000
"""Names of one listing, so that a folder with millions of names costs no more time."""

Moment = Callable[[], float]
Wait = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was found; if any of these values differs, it is another file."""

    name: str
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> File:
        """Make the file `name` from its status."""
        return cls(name, status.st_size, status.st_mtime_ns, status.st_ino)

    def as_json(self) -> list[str | int]:
        """The form in which a cursor keeps the file."""
        return [self.name, self.size, self.mtime_ns, self.inode]


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one integration, and the places in it that must not be read."""

    path: Path
    own: OwnPlaces | None = None
    settle_seconds: float = 0
    organization: str | None = None
    """The organization whose drop folders may be read; if None, no drop folder may be read."""
    only_names: bool = False
    """Whether every file with a second hard link is refused, wherever that link is."""

    @classmethod
    def of(
        cls,
        config: FilesData,
        ref: IntegrationRef | None,
        own: OwnPlaces | None,
        rules: TenantRules = TRUSTED,
    ) -> Folder:
        """The folder for this provider_data. Raises `PermanentError` when there is none."""
        if config.directory is not None:
            path = Path(config.directory)
        elif ref is None or own is None:
            raise PermanentError("the integration has no drop folder here; give a directory")
        else:
            path = drop_folder(own.home, ref)
        organization = None if ref is None else ref.organization_id
        return cls(path, own, config.settle_seconds, organization, rules.strict)

    @property
    def named(self) -> str:
        """The folder's name in messages."""
        return str(self.path)

    def files(self, stream: FileStream) -> list[File]:
        """The stream's files in the order of their names, complete or not."""
        found = self.matching(stream.path)
        if stream.select == "newest" and found:
            found = [max(found, key=lambda file: (file.mtime_ns, file.name))]
        return found

    def matching(self, pattern: str) -> list[File]:
        """The files whose names match, sorted by name, complete or not."""
        found: list[File] = []
        try:
            for seen, path in enumerate(self.path.glob(pattern)):
                if seen >= _MOST_SEEN or len(found) > _MOST_FILES:
                    raise PermanentError(
                        f"more than {_MOST_FILES:,} files (or {_MOST_SEEN:,} names) match "
                        f"{pattern!r} in {self.path}, the most that are one listing: write a "
                        "narrower path"
                    )
                if is_passed_over(path.name) or not stat.S_ISREG((status := path.stat()).st_mode):
                    continue
                found.append(File.of(path.relative_to(self.path).as_posix(), status))
        except FileNotFoundError:
            raise RetryableError(
                f"a file in {self.path} was removed while the folder was listed"
            ) from None
        except OSError as error:
            raise PermanentError(f"folder {self.path} cannot be read ({error.strerror})") from None
        for file in found:
            self._check_place(file, self.path_of(file).resolve())
        return sorted(found, key=lambda file: file.name)

    def complete_files(
        self, stream: FileStream, *, moment: Moment = time.time, wait: Wait = time.sleep
    ) -> list[File]:
        """The stream's files, once they no longer change.

        If a file changed within the last `settle_seconds`, the files are listed again after
        `settle_seconds`. Raises `RetryableError` if they differ then, and `PermanentError` when
        there is no file.
        """
        found = self.files(stream)
        if not found:
            raise PermanentError(
                f"no complete file matches {stream.path!r} in {self.named}; "
                "nothing was read and nobody was deleted"
            )
        if self.settled(found, moment()):
            return found
        wait(self.settle_seconds)
        if self.files(stream) != found:
            raise RetryableError(f"files in {self.named} are still being written")
        return found

    def settled(self, files: Sequence[File], now: float) -> bool:
        """Whether none of the files has changed within the last `settle_seconds`."""
        return all(now - file.mtime_ns / 1e9 >= self.settle_seconds for file in files)

    def path_of(self, file: File) -> Path:
        return self.path / file.name

    def open(self, file: File) -> IO[bytes]:
        """Open the file, unbuffered. Raises `PermanentError` if it must not be read.

        The place of the opened file is checked again: a link may have replaced the file since the
        listing. Whether the file itself is still the same is checked by `check_unchanged`.
        """
        path = self.path_of(file)
        # O_NONBLOCK: opening a pipe would otherwise block until another process opens it, too.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PermanentError(f"{file.name} is no regular file any more; it is not read")
            self._check_place(file, _place(descriptor, path))
            if status.st_nlink > 1:
                self._check_other_names(file, status)
        except BaseException:
            os.close(descriptor)
            raise
        return open(descriptor, "rb", buffering=0)

    def check_unchanged(self, file: File, raw: IO[bytes]) -> None:
        """Raise `PermanentError` if `raw` is not, or no longer, the file that the listing found."""
        if File.of(file.name, os.fstat(raw.fileno())) != file:
            raise changed(file.name, "has changed")

    def _check_place(self, file: File, place: Path) -> None:
        # A tenant that may drop a file may drop a link, too.
        folder = self.path.resolve()
        if not place.is_relative_to(folder):
            raise PermanentError(f"{file.name} is a link out of {self.path}; it is not followed")
        if is_system(place):
            raise PermanentError(f"{place} is a process or device of this machine; it is not read")
        if self.own is None:
            return
        drops = self.own.home.resolve() / "drops"
        if not any(
            place.is_relative_to(each.resolve()) for each in (self.own.home, *self.own.folders)
        ):
            return
        if not place.is_relative_to(drops):
            raise PermanentError(f"{file.name} is a file of the platform itself; it is not read")
        if self.organization is None or not place.is_relative_to(drops / self.organization):
            raise PermanentError(
                f"{file.name} is in the drop folder of another organization; it is not read"
            )

    def _check_other_names(self, file: File, status: os.stat_result) -> None:
        if self.only_names:
            raise PermanentError(
                f"{file.name} has another name elsewhere (a hard link); under "
                "ELT_ASSETS_TENANT_RULES=strict such a file is not read: copy it instead"
            )
        if self.own is None:
            return
        drops = self.own.home / "drops"
        mine = None if self.organization is None else drops / self.organization
        if self.own.holds(status, besides=mine):
            raise PermanentError(
                f"{file.name} is another name (a hard link) of a file of the platform or of "
                "another organization; it is not read"
            )


def _place(descriptor: int, path: Path) -> Path:
    """The actual path of an opened file."""
    found = Path(f"/proc/self/fd/{descriptor}")
    return found.readlink() if found.exists() else path.resolve()


def fingerprint(files: Sequence[File]) -> str:
    """Short identity of a set of files as they were found."""
    text = "\n".join(repr(file.as_json()) for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_passed_over(name: str) -> bool:
    """Whether a file of that name is hidden or unfinished."""
    return name.startswith((".", "~")) or name.lower().endswith(_UNFINISHED)


def changed(name: str, what: str) -> PermanentError:
    """The error for a file that is not the one that was found."""
    return PermanentError(
        f"{name} {what} since the sync began to read it; "
        "the records read so far are not applied: start a new sync"
    )
