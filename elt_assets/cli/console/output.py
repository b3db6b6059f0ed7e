"""Print one JSON document or a table on standard output, and everything else on standard error.

Text from providers is made safe to print.
"""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from elt_assets.errors.foreign_text import json_text, visible

_STYLES = {
    "applied": "green",
    "unchanged": "green",
    "yes": "green",
    "quarantined": "yellow",
    "superseded": "yellow",
    "extracting": "yellow",
    "failed": "red",
    "no": "red",
}
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
"""The option of every command whose output a program may read."""

_MOST_IN_A_TABLE = 1_000


def printable(text: str) -> str:
    """`text` on one line, with visible control characters.

    A provider's record must not send an escape sequence to the terminal.
    """
    return visible(text.replace("\n", " "))


def program() -> str:
    """How to call `elt-assets` here, for commands that are shown to be copied."""
    if shutil.which("elt-assets"):
        return "elt-assets"
    called = Path(sys.argv[0])
    return str(called) if called.name == "elt-assets" else f"{sys.executable} -m elt_assets"


def print_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    click.echo(json_text(msgspec.json.format(msgspec.json.encode(document).decode(), indent=2)))


def note(text: str) -> None:
    """Print a line that is not part of the result."""
    click.echo(printable(text), err=True)


def complain(text: str) -> None:
    """Print an error as one line."""
    click.echo(f"Error: {printable(text)}", err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """Print rows for people: a table on a terminal, aligned columns anywhere else.

    Numbers are aligned to the right; on a terminal, states are coloured. Thousands of rows are
    aligned everywhere: a table takes 0.2 ms for each.
    """
    rows = [list(row) for row in rows]
    right = [_is_numeric([row[place] for row in rows]) for place in range(len(columns))]
    names = [printable(column) for column in columns]
    cells = [[_cell(value) for value in row] for row in rows]
    if sys.stdout.isatty() and len(rows) <= _MOST_IN_A_TABLE:
        _draw(names, cells, right, title)
        return
    if title:
        click.echo(printable(title))
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    for line in (names, *cells):
        click.echo(
            "  ".join(
                " " * (width - _width(cell)) + cell
                if to_the_right
                else cell + " " * (width - _width(cell))
                for cell, width, to_the_right in zip(line, widths, right, strict=True)
            ).rstrip()
        )


def _draw(
    names: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], title: str
) -> None:
    # Imported here: a command that prints no table does not need it.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        title=printable(title) if title else None,
        title_justify="left",
        title_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, name in enumerate(names):
        table.add_column(
            name,
            justify="right" if right[place] else "left",
            overflow="fold",
            # The first column is copied into further commands.
            no_wrap=place == 0,
        )
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=sys.stdout, highlight=False, markup=False, emoji=False).print(table)


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], what: str, hidden: int = 0
) -> None:
    """Print these columns of rows for people, and how many rows are `hidden`."""
    if rows:
        print_table(columns, [[row[column] for column in columns] for row in rows])
    else:
        note(f"no {what}")
    if hidden > 0:
        note(f"{hidden:,} more {what}: --limit 0 shows all, --json prints them as JSON")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, str):
        value = msgspec.json.encode(value).decode()
    return printable(value)


def _is_numeric(values: Sequence[Any]) -> bool:
    found = [value for value in values if value is not None]
    return bool(found) and all(type(value) in (int, float) for value in found)


def _width(text: str) -> int:
    """How many columns the text takes: letters of East Asian scripts take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )
