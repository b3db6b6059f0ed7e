"""One export file: its path, its identity, its text, and whether it changed."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

from elt_assets.connectors.files.folder import File, fingerprint
from elt_assets.connectors.files.text import Text, opened, reading
from elt_assets.connectors.limits import FileLimits
from elt_assets.errors import PageUnreadable, PermanentError, RetryableError

LIMITS = FileLimits(bytes=2**62, expansion=2**62)
"""Export files are put there by the operator and may have any size."""

_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file in a day's folder, as it was found."""

    path: Path
    file: File
    day: date

    def __str__(self) -> str:
        return f"{self.day.isoformat()}/{self.file.name}"

    @property
    def look(self) -> str:
        """Identity by name, size, time and inode."""
        return fingerprint([self.file])

    @property
    def unit(self) -> dict[str, object]:
        """What its rows are known by."""
        return {"day": self.day, "file": self.file.name}

    @property
    def middle(self) -> int:
        """The byte behind which a second reader may begin."""
        return self.file.size // 2

    @property
    def is_compressed(self) -> bool:
        """Whether it is a gzip file, by its name."""
        return self.file.name.lower().endswith(".gz")

    @property
    def is_csv(self) -> bool:
        """Whether it holds CSV, by its name; else JSON Lines."""
        return self.file.name.lower().removesuffix(".gz").endswith(".csv")

    @contextmanager
    def raw(self) -> Iterator[IO[bytes]]:
        """Its bytes. Raises `PageUnreadable` for what is damaged."""
        with reading(self.file.name):
            try:
                raw = self.path.open("rb", buffering=0)
            except FileNotFoundError:
                raise PermanentError(f"{self} is gone since it was looked for") from None
            with raw:
                yield raw

    @contextmanager
    def text(self) -> Iterator[Text]:
        """Its content, decompressed. Raises `PageUnreadable` for what is not UTF-8."""
        with self.raw() as raw:
            head = raw.read(2)
            raw.seek(0)
            if head.startswith(_OTHER_MARKS):
                raise PageUnreadable(f"{self} is not UTF-8; write export files in it")
            with opened(raw, self.file.name, None, LIMITS) as text:
                yield text

    def refuse_changed(self) -> None:
        """Raise `RetryableError` if it is not as it was found any more."""
        try:
            found = File.of(self.file.name, self.path.stat())
        except OSError:
            found = None
        if found != self.file:
            raise RetryableError(f"{self} changed while it was read; nothing of it was kept")
