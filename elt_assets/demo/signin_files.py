"""Export files of sign-ins, and the events that API and files together should give.

Some lines repeat events of the API, some are of the previous day, some correct or delete an event
of an earlier line, and some are malformed.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.people import rfc3339
from elt_assets.demo.signins import (
    FAILURE,
    SUCCESS,
    Signin,
    SigninSource,
    changed,
    recorded,
    sign_in,
)
from elt_assets.identifiers import IntegrationRef

COLUMNS = (
    "event_id",
    "organization_id",
    "integration_id",
    "user_external_id",
    "occurred_at",
    "result",
    "country",
    "ip",
    "application",
    "user_agent",
    "op",
)

_DAY = timedelta(days=1)
_FEWEST = 8
"""Fewest sign-ins that only files have: the cases below need this many."""
_COPIES = 3
_LATE = (0, 1)
_CORRECTED, _CORRECTED_LATER = 2, 3
_DELETED, _DELETED_LATER = 4, 5
_REPEATED = 6


@dataclass(frozen=True, slots=True)
class Line:
    """A usable line of a file."""

    ref: IntegrationRef
    event: Signin
    op: str = "INSERT"

    def cells(self) -> list[str]:
        """The values, in the order of `COLUMNS`."""
        row = _row(self.ref, self.event)
        return [*(str(row[column]) for column in COLUMNS[:-1]), self.op]


@dataclass(frozen=True, slots=True)
class DayExport:
    """One file of one day."""

    day: date
    name: str
    lines: tuple[Line, ...]
    bad: tuple[str, ...]
    """Malformed lines at the end of the file."""
    export: str
    """The name of the export, in a column of its own, so that two exports of a day differ."""

    def text(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow((*COLUMNS, "export"))
        writer.writerows((*line.cells(), self.export) for line in self.lines)
        return out.getvalue() + "".join(f"{line}\n" for line in self.bad)


def exports(layout: DemoLayout, days: Sequence[date], export: str = "1") -> Iterator[DayExport]:
    """The files of consecutive `days`, one for each day and organization.

    On the second day the first organization's file exists twice, under two names.
    """
    sources: dict[str, list[SigninSource]] = {}
    for ref in layout.worlds():
        sources.setdefault(ref.organization_id, []).append(SigninSource.of(layout, ref))
    for number, day in enumerate(days):
        for place, (organization, of_one) in enumerate(sources.items()):
            lines = tuple(_lines(of_one, day, is_first=number == 0))
            suffix = ".csv.gz" if number % 2 else ".csv"
            bad = _bad(organization, day)
            yield DayExport(day, f"{organization}{suffix}", lines, bad, export)
            if (number, place) == (1, 0):
                yield DayExport(day, f"{organization}-again{suffix}", lines, bad, export)


def unusable(layout: DemoLayout, days: Sequence[date]) -> int:
    """The number of malformed lines in the files of these days, each file counted once."""
    return sum({file.text(): len(file.bad) for file in exports(layout, days)}.values())


def write_exports(folder: Path, files: Iterable[DayExport]) -> None:
    """Write the files under `folder`; a name appears when its file is complete."""
    for file in files:
        place = folder / file.day.isoformat() / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        content = file.text().encode()
        if place.suffix == ".gz":
            content = gzip.compress(content, mtime=0)
        written = place.with_name(f".{place.name}.part")
        written.write_bytes(content)
        os.replace(written, place)


def signin_truth(layout: DemoLayout, days: Sequence[date]) -> list[dict[str, Any]]:
    """The events that should be held after `days` are read, by organization and id.

    The API takes precedence over files. Of several records of the API the newest counts, of
    several lines of files the last.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for file in exports(layout, days):
        for line in file.lines:
            key = (line.ref.organization_id, line.event.id)
            found[key] = {
                **_row(line.ref, line.event),
                "deleted": line.op == "DELETE",
                "source": "csv",
            }
    for ref in layout.worlds():
        for day in days:
            for event in recorded(SigninSource.of(layout, ref), day):
                key = (ref.organization_id, event.id)
                found[key] = {**_row(ref, event), "deleted": False, "source": "api"}
    return [found[key] for key in sorted(found)]


def _lines(sources: Sequence[SigninSource], day: date, *, is_first: bool) -> Iterator[Line]:
    for source in sources:
        for event in recorded(source, day)[:_COPIES]:
            yield Line(source.ref, changed(event, application="export"))
    if not is_first:
        before = _only_in_files(sources, day - _DAY)
        for number in _LATE:
            yield before[number]
        yield _corrected(before[_CORRECTED_LATER])
        yield _deleted(before[_DELETED_LATER])
    today = _only_in_files(sources, day)
    yield from today[len(_LATE) :]
    yield _corrected(today[_CORRECTED])
    yield _deleted(today[_DELETED])
    yield today[_REPEATED]


def _only_in_files(sources: Sequence[SigninSource], day: date) -> list[Line]:
    """Sign-ins that the API does not have. Other organizations reuse their ids."""
    found = []
    for number in range(max(_FEWEST, sources[0].signins // 2)):
        source = sources[number % len(sources)]
        name = f"exp-{day:%Y%m%d}-{number:05d}"
        found.append(Line(source.ref, sign_in(source, day, number, name)))
    return found


def _bad(organization: str, day: date) -> tuple[str, ...]:
    begin, end = f"bad-{day:%Y%m%d}", f"{day}T10:00:00Z"
    rest = "SE,198.51.100.9,mail,Firefox/128.0,INSERT,1"
    return (
        f"{begin}-1,{organization},,u-000001",
        f"{begin}-2,{organization},,u-000001,half past ten,success,{rest}",
        f"{begin}-3,{organization},,u-000001,{end},maybe,{rest}",
        f"{begin}-4,nobody-inc,,u-000001,{end},success,{rest}",
        f",{organization},,u-000001,{end},success,{rest}",
    )


def _row(ref: IntegrationRef, event: Signin) -> dict[str, Any]:
    return {
        "event_id": event.id,
        "organization_id": ref.organization_id,
        "integration_id": ref.integration_id,
        "user_external_id": event.actor.id,
        "occurred_at": rfc3339(event.occurred_at),
        "result": event.result,
        "country": event.client.country,
        "ip": event.client.ip,
        "application": event.application,
        "user_agent": event.client.user_agent,
    }


def _corrected(line: Line) -> Line:
    result = SUCCESS if line.event.result == FAILURE else FAILURE
    return Line(line.ref, changed(line.event, result=result), "UPDATE")


def _deleted(line: Line) -> Line:
    return Line(line.ref, line.event, "DELETE")
