"""Print one JSON document or a table on standard output, and everything else on standard error.

Text from providers is made safe to print.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from elt_assets.foreign_text import json_text, visible

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

_UNBOUNDED = 100_000
"""Width of a table in a file or a pipe, where nothing is wrapped or cut."""


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

    Numbers are aligned to the right; on a terminal, states are coloured.
    """
    rows = [list(row) for row in rows]
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    table = Table(
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        title=printable(title) if title else None,
        title_justify="left",
        title_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1 if console.is_terminal else 2, 0, 0),
    )
    for position, column in enumerate(columns):
        values = [row[position] for row in rows if row[position] is not None]
        numeric = bool(values) and all(type(value) in (int, float) for value in values)
        table.add_column(
            printable(column),
            justify="right" if numeric else "left",
            overflow="fold",
            # The first column is copied into further commands.
            no_wrap=position == 0,
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    if console.is_terminal:
        console.print(table)
        return
    console.width = _UNBOUNDED
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


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


def _cell(value: Any) -> Text:
    if value is None:
        return Text("-")
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, int):
        value = f"{value:,}"
    elif not isinstance(value, str):
        value = msgspec.json.encode(value).decode()
    return Text(printable(value), style=_STYLES.get(value, ""))
