"""`elt-assets integrations import|export`: many integrations at once, all of them or none.

A list is JSON Lines or CSV, with one integration a line. What `export` prints can be imported.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import IO, Any

import click
import msgspec

from elt_assets.cli.console.as_person import as_person
from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, complain, note, print_json
from elt_assets.cli.installation import existing_platform
from elt_assets.config import documents
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import NewIntegration, NotAdded

_NEEDED = ("organization_id", "integration_id", "provider", "provider_data")
_KNOWN = frozenset({*_NEEDED, "enabled"})
_SWITCH = {"true": True, "1": True, "false": False, "0": False, "": True}
_MOST = 100_000
"""Integrations in one list."""
_SHOWN = 50
"""Mistakes that are printed; the others are counted."""


@click.command(name="import", epilog="Example: elt-assets integrations import all.jsonl --dry-run")
@click.argument("file", type=click.File(encoding="utf-8", lazy=False))
@click.option("--dry-run", is_flag=True, help="Check every line and add nothing.")
@as_json
@as_person
def import_(file: IO[str], dry_run: bool, as_json: bool) -> int:
    """Register every integration of a list, or none if any line is wrong.

    FILE is JSON Lines or CSV; - reads standard input. Each line has organization_id,
    integration_id, provider, provider_data (in CSV as JSON) and may have enabled. A line that
    equals a registered integration changes nothing.
    """
    entries: dict[int, NewIntegration] = {}
    mistakes: dict[int, str] = {}
    for line, found in _lines(file):
        try:
            entries[line] = _entry(found, f"line {line}")
        except InvalidInput as error:
            mistakes[line] = str(error)
    settings = load_settings()
    added: list[IntegrationRef] = []
    if entries or not mistakes:
        with SyncService.open(settings) as platform:
            try:
                added = platform.registry.add_all(entries, dry_run=dry_run or bool(mistakes))
            except NotAdded as error:
                mistakes |= error.mistakes
    if mistakes:
        return _refused(mistakes, as_json)
    if added and not dry_run:
        # Importing Dagster takes 1.4 s; mistakes are reported before that.
        from elt_assets.orchestration.instance.opening import open_instance
        from elt_assets.orchestration.partitions import add_partition_keys

        with open_instance(settings) as instance:
            add_partition_keys(instance, added)
    unchanged = len(entries) - len(added)
    if as_json:
        print_json(
            {
                "added": [ref.partition_key for ref in added],
                "unchanged": unchanged,
                "dry_run": dry_run,
            }
        )
        return 0
    done = "would be added" if dry_run else "added"
    click.echo(f"{len(added):,} {done}, {unchanged:,} unchanged.")
    return 0


@click.command(epilog="Example: elt-assets integrations export > all.jsonl")
def export() -> None:
    """Print every integration as JSON Lines, with its secrets as references."""
    with existing_platform() as platform:
        found = platform.registry.all()
    for one in found:
        if one.removing:
            note(f"{one.ref} is being removed and left out")
            continue
        row = dict(zip(_NEEDED, (*one.ref.values, one.provider, one.provider_data), strict=True))
        click.echo(msgspec.json.encode(row | {"enabled": one.enabled}))


def _refused(mistakes: Mapping[int, str], as_json: bool) -> int:
    for line, mistake in sorted(mistakes.items())[:_SHOWN]:
        complain(f"line {line}: {mistake.removeprefix(f'line {line}: ')}")
    if len(mistakes) > _SHOWN:
        complain(f"{len(mistakes) - _SHOWN:,} further lines cannot be used")
    complain("nothing was added")
    if as_json:
        print_json({"added": [], "mistakes": {str(line): one for line, one in mistakes.items()}})
    return FAILED


def _lines(file: IO[str]) -> Iterator[tuple[int, object]]:
    """Yield each line's number and content: a dict, or the text of a JSON object."""
    try:
        rows = enumerate(file, start=1)
        for first, text in rows:
            if not text.strip():
                continue
            if text.lstrip("\ufeff \t").startswith("{"):
                yield first, text
                yield from ((number, line) for number, line in rows if line.strip())
            else:
                yield from _rows(text, rows)
        return
    except UnicodeDecodeError:
        raise InvalidInput(f"{file.name} is not UTF-8 text") from None
    except csv.Error as error:
        raise InvalidInput(f"{file.name} is neither JSON Lines nor CSV ({error})") from None


def _rows(header: str, rows: Iterator[tuple[int, str]]) -> Iterator[tuple[int, object]]:
    names = [name.strip() for name in next(csv.reader([header.lstrip("\ufeff")]))]
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise InvalidInput(
            f"line 1 is neither JSON nor a header with {missing[0]}; a list has "
            f"{', '.join(_NEEDED)} and may have enabled"
        )
    csv.field_size_limit(documents.LONGEST)
    reader = csv.reader(line for _, line in rows)
    for values in reader:
        if values:
            yield reader.line_num + 1, dict(zip(names, values, strict=False))


def _entry(found: object, name: str) -> NewIntegration:
    if isinstance(found, str):
        found = documents.load(found.lstrip("\ufeff"), name)
    if not isinstance(found, dict):
        raise InvalidInput(f"{name}: is not an object with {', '.join(_NEEDED)}")
    missing = [key for key in _NEEDED if found.get(key) in (None, "")]
    unknown = sorted(map(str, found.keys() - _KNOWN))
    if missing or unknown:
        wrong = f"has no {missing[0]}" if missing else f"has {unknown[0]!r}, which is not known"
        raise InvalidInput(f"{name}: {wrong}; a line has {', '.join(sorted(_KNOWN))}")
    data, enabled = found["provider_data"], found.get("enabled", True)
    if isinstance(data, str):
        data = documents.load(data, f"{name}: provider_data")
    if isinstance(enabled, str):
        enabled = _SWITCH.get(enabled.strip().lower())
    if not isinstance(enabled, bool):
        raise InvalidInput(f"{name}: enabled is neither true nor false")
    texts: list[Any] = [found[key] for key in _NEEDED[:3]]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInput(f"{name}: {', '.join(_NEEDED[:3])} must be texts")
    organization_id, integration_id, provider = texts
    return NewIntegration(IntegrationRef(organization_id, integration_id), provider, data, enabled)
