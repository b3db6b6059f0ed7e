"""The models of a files integration's provider_data, with their limits and error messages."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from elt_assets.connectors.files.file_format import Format, proves_itself
from elt_assets.connectors.files.remote.remote_data import Remote
from elt_assets.connectors.mapping.expression_parser import parse, parse_keys
from elt_assets.connectors.mapping.expressions import Condition, literals_of
from elt_assets.connectors.mapping.field_map import Fields, Unsorted, check_streams, check_unordered
from elt_assets.connectors.provider_fields import OwnSafeguards, Priority, SourceName, Strict
from elt_assets.errors import InvalidInput


def _directory(value: str) -> str:
    if not value.startswith("/") or "\x00" in value:
        raise ValueError("write the whole path, starting with '/'")
    return value


def _pattern(value: str) -> str:
    if value.startswith("/") or "\\" in value or "\x00" in value or ".." in value.split("/"):
        raise ValueError("write a name or a pattern inside the folder, such as users-*.csv")
    return value


def _encoding(value: str) -> str:
    try:
        "a".encode(codecs.lookup(value).name)
    except (LookupError, UnicodeError):
        raise ValueError(f"{value!r} is not an encoding; write for example windows-1252") from None
    return value


def _records(value: str) -> str:
    try:
        parse_keys(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    return value


def _row_filter(value: str) -> str:
    try:
        expression = parse(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    if not isinstance(expression, Condition):
        raise ValueError('compare columns with texts, e.g. type != "total"')
    if not all(isinstance(literal, str | None) for literal in literals_of(expression)):
        raise ValueError('values in CSV are texts: write "1" for 1, or null for none')
    return value


Encoding = Annotated[str, AfterValidator(_encoding)]
Character = Annotated[str, Field(pattern=r"^[^\r\n\x00]$")]


def _sidecar(value: str) -> str:
    if "/" in value or "\\" in value or "\x00" in value or value in ("", ".", "..", "{name}"):
        raise ValueError("write the name of a file next to it, such as {name}.done")
    return value


Sidecar = Annotated[str, Field(max_length=255), AfterValidator(_sidecar)]


class Completion(Strict):
    """Proof that a file is complete: another file next to it, written after it.

    `{name}` stands for the file's own name.
    """

    marker: Sidecar | None = Field(
        None, description="A file that only has to exist, e.g. {name}.done."
    )
    checksum: Sidecar | None = Field(
        None, description="A file with the SHA-256 checksum in hexadecimal, e.g. {name}.sha256."
    )
    count: Sidecar | None = Field(
        None, description="A file with the number of records, e.g. {name}.count."
    )

    @model_validator(mode="after")
    def _something(self) -> Completion:
        if self.marker is self.checksum is self.count is None:
            raise ValueError("name a marker, a checksum or a count")
        return self


class FileStream(Strict):
    """One kind of record and the files that hold it."""

    path: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_pattern)] = Field(
        description="File name or pattern inside the folder, e.g. users.csv or users-*.csv.gz."
    )
    select: Literal["all", "newest"] = Field(
        "all",
        description="Whether all matching files together are the listing, or only the newest one.",
    )
    format: Format | None = Field(
        None, description="Format of the files, where their names do not show it."
    )
    encoding: Encoding | None = Field(
        None,
        description="Encoding of files that are not UTF-8 and have no byte order mark.",
    )
    delimiter: Character | None = Field(
        None,
        description="CSV: the character between values, where it is not one of , ; | or a tab.",
    )
    quote: Character = Field('"', description="CSV: the character around a quoted value.")
    columns: list[str] | None = Field(
        None, min_length=1, description="CSV: names of the columns of a file without a header."
    )
    skip_rows: int = Field(
        0, ge=0, le=1000, description="CSV: lines before the header, or before the first record."
    )
    skip_last: int = Field(
        0, ge=0, le=1000, description="CSV: rows at the end that are no records, such as a total."
    )
    where: Annotated[str, AfterValidator(_row_filter)] | None = Field(
        None,
        description='CSV: which rows are records, e.g. type != "total"; joined by &&. An empty '
        "value is null.",
    )
    decimal: Literal[".", ","] = Field(
        ".", description="CSV: the decimal separator of numbers; it is stored as a point."
    )
    records: Annotated[str, AfterValidator(_records)] = Field(
        "",
        description="JSON: where the list of records is, e.g. data.items; empty when the whole "
        "file is the list.",
    )
    complete: Completion | None = Field(
        None,
        description="Proof that a file is complete. Without it, a record that is missing from a "
        "CSV or JSON Lines file is deleted only when it is still missing in a second reading, "
        "CONFIRM_AFTER later.",
    )
    fields: Fields
    unordered: Unsorted = Field([])

    @model_validator(mode="after")
    def _consistent(self) -> FileStream:
        check_unordered(self.fields, self.unordered)
        chosen = [name for name in _OF_CSV if name in self.model_fields_set]
        if chosen and self._is_another_format():
            raise ValueError(f"{chosen[0]} is for CSV, which this is not")
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise ValueError("columns names one twice")
        return self

    @property
    def has_snapshot(self) -> bool:
        """Whether the files prove that they are complete."""
        return self.complete is not None or proves_itself(self.path, self.format)

    def _is_another_format(self) -> bool:
        if self.format is not None:
            return self.format != "csv"
        name = self.path.lower().removesuffix(".gz").removesuffix(".zst")
        return name.endswith((".json", ".jsonl", ".ndjson", ".parquet", ".pq"))


_OF_CSV = ("skip_rows", "skip_last", "where", "decimal")


class FilesData(Strict):
    """provider_data of a files integration."""

    permission_source_name: SourceName = None
    directory: Annotated[str, AfterValidator(_directory)] | None = Field(
        None, description="Folder of the files; the integration's own drop folder when left out."
    )
    remote: Remote | None = Field(
        None, description="Where the files are, if not on this machine: sftp://… or s3://…."
    )
    settle_seconds: float = Field(
        3.0,
        ge=0,
        le=600,
        description="Seconds for which a file must have stayed unchanged before it is read.",
    )
    streams: dict[str, FileStream] = Field(min_length=1, description="Streams by name: users.")
    safeguards: OwnSafeguards = None
    priority: Priority = 0

    @property
    def has_snapshot(self) -> bool:
        """Whether the files of some stream prove that they are complete."""
        return any(stream.has_snapshot for stream in self.streams.values())

    @model_validator(mode="after")
    def _named(self) -> FilesData:
        if self.remote is not None:
            if self.directory is not None:
                raise ValueError("give directory or remote, one of the two")
            for name, stream in self.streams.items():
                if "**" in stream.path:
                    raise ValueError(f"streams.{name}.path: ** is for files of this machine")
        check_streams({name: stream.fields for name, stream in self.streams.items()})
        return self
