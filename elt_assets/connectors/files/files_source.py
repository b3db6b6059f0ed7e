"""A stream of a files integration, chunk by chunk, from any cursor it returned.

The module orders the files, makes cursors and detects a file that changed. Which files belong to a
stream is decided in `folder`.

A cursor is `{"pages": number, "files": [the remaining files, as they were found], "at": position in
the first of them}`. Chunks that were read are never read again. The remaining files must not have
changed, or two listings would be mixed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import IO

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.files import csv_file, json_file, parquet_file
from elt_assets.connectors.files.chunk import Chunk, Place
from elt_assets.connectors.files.completion import check_complete
from elt_assets.connectors.files.file_format import Format, format_of_name
from elt_assets.connectors.files.files_data import FilesData, FileStream
from elt_assets.connectors.files.folder import File, Folder, changed
from elt_assets.connectors.files.remote.remote_folder import RemoteFolder, remote_folder
from elt_assets.connectors.files.text import opened, reading
from elt_assets.connectors.limits import FetchLimits, page_limit_reached
from elt_assets.connectors.mapping.expressions import names_used
from elt_assets.connectors.mapping.field_map import key_fields, parsed
from elt_assets.connectors.source import Cursor, ListsOnly, Page
from elt_assets.errors import PageUnreadable, PermanentError, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef


class FilesSource(ListsOnly):
    """One stream of one files integration."""

    records: tuple[str, ...] = ()
    resumable = True
    settles = True
    """A file may still be in transfer; a change while it is read is an error."""

    def __init__(
        self,
        config: FilesData,
        stream: str,
        *,
        ref: IntegrationRef | None,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> None:
        self._stream = config.streams[stream]
        self._folder = _folder(config, ref, secrets, limits)
        self.snapshot = self._stream.has_snapshot
        self.fields = parsed(self._stream.fields, self._stream.unordered)
        self._keys = {
            column for field in key_fields(stream) for column in names_used(self.fields[field])
        }
        self._limits = limits
        self._max_pages = limits.max_pages

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield chunks after `cursor` (from the first when None) up to the last one."""
        number, files, at = self._resumed(cursor)
        total = None
        if self._stream.complete is not None and cursor is None:
            total = check_complete(self._folder, files, self._stream.complete)
        pages = self._listed(number, files, at)
        # Only the first page has the total; an extraction that continues has committed it already.
        yield from (replace(page, total=total) for page in islice(pages, 1))
        yield from pages

    def _listed(self, number: int, files: list[File], at: Place) -> Iterator[Page]:
        # One chunk is held back, so that the last one is known to be the last.
        held: tuple[Chunk, Cursor] | None = None
        for index, file in enumerate(files):
            for chunk in self._chunks(file, at):
                if held is not None:
                    number += 1
                    if number >= self._max_pages:
                        yield _page(*held, page_limit_reached(self._max_pages))
                        return
                    yield _page(*held)
                held = chunk, _cursor(number + 1, files[index:], chunk.after)
            at = {}
            if held is not None:
                # A file that was read to its end may be removed: the cursor lists the others only.
                held = held[0], _cursor(number + 1, files[index + 1 :], {})
        body, count = (held[0].body, held[0].count) if held is not None else (b"[]", 0)
        yield Page(body, count, next=None)

    @property
    def requests(self) -> int:
        """Requests sent to another machine; 0 for files of this machine."""
        return self._folder.storage.requests if isinstance(self._folder, RemoteFolder) else 0

    def close(self) -> None:
        """Close the connections to another machine; files of this machine are closed already."""
        if isinstance(self._folder, RemoteFolder):
            self._folder.storage.close()

    def _chunks(self, file: File, at: Place) -> Iterator[Chunk]:
        with self._opened(file) as raw, reading(file.name):
            self._folder.check_unchanged(file, raw)
            for chunk in self._formatted(file, raw, at):
                self._folder.check_unchanged(file, raw)
                yield chunk

    def _formatted(self, file: File, raw: IO[bytes], at: Place) -> Iterator[Chunk]:
        kind = file_format(file.name, self._stream)
        if kind == "parquet":
            yield from parquet_file.chunks(raw, file.name, at, self._limits, self._keys)
            return
        with opened(raw, file.name, self._stream.encoding, self._limits.files) as text:
            match kind:
                case "csv":
                    yield from csv_file.chunks(
                        text, file.name, self._stream, at, self._limits.files
                    )
                case "jsonl":
                    yield from json_file.line_chunks(text, at)
                case "json":
                    yield from json_file.document_chunks(
                        text, file.name, self._stream, at, self._limits
                    )

    def _opened(self, file: File) -> IO[bytes]:
        path = self._folder.path_of(file)
        try:
            # Unbuffered, because each reader adds a buffer of its own.
            return self._folder.open(file)
        except FileNotFoundError:
            raise changed(file.name, "is gone") from None
        except PermissionError:
            raise PermanentError(f"{path} cannot be opened: permission denied") from None
        except OSError as error:
            raise ProviderUnavailable(f"{path} cannot be opened ({error.strerror})") from None

    def _resumed(self, cursor: Cursor | None) -> tuple[int, list[File], Place]:
        match cursor:
            case None:
                return 0, self._folder.complete_files(self._stream), {}
            case {"pages": int(number), "files": list(files), "at": dict(at)}:
                return number, [File(*file) for file in files], at
        raise PermanentError("the saved position is not one of files; start a new sync")


def _folder(
    config: FilesData,
    ref: IntegrationRef | None,
    secrets: Secrets,
    limits: FetchLimits,
) -> Folder:
    if config.remote is None:
        return Folder.of(config, ref, limits.own, limits.rules)
    return remote_folder(config, config.remote, secrets=secrets, limits=limits)


def file_format(name: str, stream: FileStream) -> Format:
    """The format stated for the stream or shown by the name. Raises `PageUnreadable` if neither."""
    if stream.format is not None:
        return stream.format
    found = format_of_name(name)
    if found is None:
        raise PageUnreadable(
            f"the name {name} does not show the file's format; set format in provider_data"
        )
    return found


def _page(chunk: Chunk, cursor: Cursor, cut_short: str | None = None) -> Page:
    return Page(chunk.body, chunk.count, next=cursor, cut_short=cut_short)


def _cursor(number: int, files: list[File], at: Place) -> Cursor:
    return {"pages": number, "files": [file.as_json() for file in files], "at": at}
