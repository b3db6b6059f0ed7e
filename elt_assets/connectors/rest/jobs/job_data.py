"""How provider_data describes an export job and the file that it makes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from elt_assets.connectors.files.files_data import Character, Encoding
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import Condition
from elt_assets.connectors.mapping.templates import TEMPLATE_NAMES, placeholders
from elt_assets.connectors.provider_fields import Strict
from elt_assets.connectors.rest.configuration.text_types import (
    Duration,
    FieldExpression,
    Keys,
    RelativePath,
)
from elt_assets.errors import InvalidInput


def _job_path(value: str) -> str:
    try:
        found = placeholders(value, {*TEMPLATE_NAMES, "job"})
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    if "job" not in found:
        raise ValueError("has no {job}, where the job's id is to stand")
    return value


def _condition(value: str) -> str:
    try:
        expression = parse(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from None
    if not isinstance(expression, Condition):
        raise ValueError(f'{value!r} compares nothing, as status == "done" does')
    return value


JobPath = Annotated[RelativePath, AfterValidator(_job_path)]
JobCondition = Annotated[str, AfterValidator(_condition)]


class JobFile(Strict):
    """The file of a job: plain, or compressed with gzip, zstd or as the one file of a ZIP."""

    format: Literal["jsonl", "csv", "json"] = Field("jsonl", description="Format of the file.")
    delimiter: Character | None = Field(
        None,
        description="CSV: the character between values, where it is not one of , ; | or a tab.",
    )
    records: Keys = Field(
        "",
        description="JSON: where the list of records is; empty when the whole file is the list.",
    )
    encoding: Encoding | None = Field(
        None, description="Encoding of the file, where it is not UTF-8."
    )


class ExportJob(Strict):
    """The request of the stream begins a job; its state is polled until it is done, then read."""

    id: FieldExpression = Field("id", description="Where the answer has the job's id.")
    poll: JobPath = Field(description="Path of the job's state, e.g. /jobs/{job}.")
    done: JobCondition = Field(
        description='Condition for a job that is done, e.g. status == "completed".'
    )
    failed: JobCondition | None = Field(
        None,
        description='Condition for a job that has failed, e.g. status in ["failed", "canceled"].',
    )
    message: FieldExpression | None = Field(
        None, description="Where the state of a failed job has the reason, e.g. error.message."
    )
    every: Duration = Field("5s", description="How often the job's state is requested.")
    most: Duration = Field("1h", description="Longest time that the job may take.")
    download: JobPath | None = Field(
        None, description="Path of the file, e.g. /jobs/{job}/results."
    )
    url: FieldExpression | None = Field(
        None,
        description="Or where the state has the file's address, e.g. location; a host that is not "
        "the API's own must be in allowed_hosts.",
    )
    file: JobFile = Field(JobFile(), description="Format and encoding of the file.")

    @model_validator(mode="after")
    def _one_place(self) -> ExportJob:
        if (self.download is None) == (self.url is None):
            raise ValueError("give the file's place as download or as url, one of the two")
        return self
