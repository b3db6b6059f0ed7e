"""`elt-assets migrate`: from the SQLite file to a PostgreSQL server.

Belongs here: the command and its report. Does not: the move itself (sync.moving).
"""

from __future__ import annotations

import click

from elt_assets.cli.output import as_json, note, print_json, print_table
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.settings import load_settings


@click.command(
    epilog="Example: elt-assets migrate --to postgresql://elt@db.example.com:5432/elt\n\n"
    "The password comes from ELT_ASSETS_OPERATIONAL_PASSWORD (env:NAME or file:PATH), schema "
    "and reading role from ELT_ASSETS_OPERATIONAL_SCHEMA and _READER. Stop the server before: "
    "a sync that wants to write meanwhile waits, and fails when it has waited too long."
)
@click.option("--to", "url", required=True, metavar="URL", help="An empty PostgreSQL database.")
@as_json
def migrate(url: str, as_json: bool) -> None:
    """Move the operational database to PostgreSQL, compare every row, and close the old file.

    Histories and fetched records stay where they are. Repeated after an interruption it goes on.
    """
    here = load_settings()
    if here.operational_url is not None:
        raise InvalidInput(
            f"this installation is at {here.operational_address} already "
            "(ELT_ASSETS_OPERATIONAL_URL); nothing was moved"
        )
    if not here.database_path.exists():
        raise NotFound(
            f"{here.home} holds no platform to be moved: set ELT_ASSETS_HOME, or begin on "
            f"PostgreSQL with ELT_ASSETS_OPERATIONAL_URL={url}"
        )
    there = load_settings(operational_url=url)

    from elt_assets.stores.opening import operational_database
    from elt_assets.stores.sqlite import SqliteDatabase
    from elt_assets.sync.moving import move

    source, target = SqliteDatabase(here.database_path), operational_database(there)
    try:
        moved = move(source, target)
    finally:
        source.close()
        target.close()
    if as_json:
        print_json({"from": str(source), "to": str(target), "tables": moved})
    else:
        print_table(
            ("table", "copied", "compared"),
            [[table.table, table.copied, table.compared] for table in moved],
        )
    note(f"{source} is closed; from now on set ELT_ASSETS_OPERATIONAL_URL={url}")
