"""`elt-assets migrate`: move an installation from files of one machine to servers."""

from __future__ import annotations

import click

from elt_assets.cli.console.as_person import as_person
from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput, NotFound


@click.command(
    epilog="Example: elt-assets migrate --to postgresql://elt@db.example.com:5432/elt\n\n"
    "Example: elt-assets migrate --warehouse\n\n"
    "The password comes from ELT_ASSETS_OPERATIONAL_PASSWORD (env:NAME or file:PATH), schema "
    "and reading role from ELT_ASSETS_OPERATIONAL_SCHEMA and _READER. Stop the server first: "
    "a sync that has to write meanwhile waits, and fails if it waits too long."
)
@click.option("--to", "url", metavar="URL", help="An empty PostgreSQL database.")
@click.option(
    "--warehouse",
    is_flag=True,
    help="Move histories and fetched records into the lake of the settings instead.",
)
@as_json
@as_person
def migrate(url: str | None, warehouse: bool, as_json: bool) -> int:
    """Move the operational database to PostgreSQL, compare every row, and close the old file.

    With --warehouse, move every integration's DuckDB file into the lake of
    ELT_ASSETS_WAREHOUSE_URL and rename the old files. After an interruption, repeat the command
    to continue.
    """
    if (url is None) == (not warehouse):
        raise click.UsageError("say what to move: --to URL or --warehouse")
    if url is not None:
        _move_database(url, as_json)
        return 0
    return _move_warehouse(as_json)


def _move_database(url: str, as_json: bool) -> None:
    here = load_settings()
    if here.operational_url is not None:
        raise InvalidInput(
            f"this installation is at {here.operational_address} already "
            "(ELT_ASSETS_OPERATIONAL_URL); nothing was moved"
        )
    if not here.database_path.exists():
        raise NotFound(
            f"{here.home} holds no platform to move: set ELT_ASSETS_HOME, or begin on "
            f"PostgreSQL with ELT_ASSETS_OPERATIONAL_URL={url}"
        )
    there = load_settings(operational_url=url)

    from elt_assets.storage.from_settings import operational_database
    from elt_assets.storage.operational.sqlite_database import SqliteDatabase
    from elt_assets.sync.admin.migrate_database import migrate as migrate_database
    from elt_assets.sync.state.audit_log import AuditLog

    source, target = SqliteDatabase(here.database_path), operational_database(there)
    try:
        moved = migrate_database(source, target)
        rows = {table.table: table.compared for table in moved}
        AuditLog(target, there).record("migrate", None, {"to": str(target), "rows": rows})
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


def _move_warehouse(as_json: bool) -> int:
    settings = load_settings()
    if settings.warehouse_url is None:
        raise InvalidInput(
            "the settings name no lake to move the files into: set ELT_ASSETS_WAREHOUSE_URL and "
            "ELT_ASSETS_WAREHOUSE_DATA"
        )

    from elt_assets.storage.from_settings import file_warehouses, warehouses
    from elt_assets.sync.admin.migrate_warehouse import migrate_warehouses
    from elt_assets.sync.state.store_tables import warehouse_layout

    source = file_warehouses(settings, settings.warehouse_path)
    target = warehouses(settings, warehouse_layout())
    try:
        moved = [*migrate_warehouses(source, target)]
    finally:
        source.close()
        target.close()
    if as_json:
        print_json({"from": str(settings.warehouse_path), "integrations": moved})
    else:
        print_table(
            ("integration", "rows", "error"),
            [(one.partition, one.rows, one.error or "") for one in moved],
        )
    note(
        f"the moved files are now *.moved under {settings.warehouse_path}: delete them once you "
        "have checked the result, because they hold personal data"
    )
    return FAILED if any(one.error for one in moved) else 0
