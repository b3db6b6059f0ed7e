"""`elt-assets config`: check the settings and what they configure, and secure the home."""

from __future__ import annotations

import click

from elt_assets.cli.console.as_person import as_person
from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.config.settings import load_settings


@click.group(epilog="Example: elt-assets config check")
def config() -> None:
    """Check the settings and what they configure; restrict who may read the data."""


@config.command(
    epilog="Example: elt-assets config check --json\n\n"
    "Example: DAGSTER_HOME=/opt/dagster elt-assets config check --instance\n\n"
    "Exit status: 1 if anything is wrong, else 0."
)
@click.option(
    "--instance",
    is_flag=True,
    help="Show what dagster.yaml lacks for the runs of this project, why, and what to add.",
)
@as_json
def check(instance: bool, as_json: bool) -> int:
    """Connect to everything that is configured; print one line for each result or mistake.

    Shows the version of the operational database and the account's rights, and writes nothing.
    """
    if instance:
        return _check_instance(as_json)
    from elt_assets.monitoring.configuration_check import configuration

    found = [*configuration()]
    if as_json:
        print_json([{"name": one.name, "ok": one.ok, "detail": one.detail} for one in found])
    else:
        print_table(
            ("what", "result", "detail"),
            [(one.name, "ok" if one.ok else "failed", one.detail) for one in found],
        )
    return 0 if all(one.ok for one in found) else FAILED


def _check_instance(as_json: bool) -> int:
    from elt_assets.orchestration.instance.host_check import lacks, settings_of
    from elt_assets.orchestration.instance.opening import dagster_home, open_instance

    settings = load_settings()
    with open_instance(settings) as opened:
        found = lacks(settings_of(opened), max_runs=settings.max_runs)
    if as_json:
        print_json([{"setting": one.setting, "why": one.why, "add": one.add} for one in found])
    elif found:
        print_table(("setting", "why", "add"), [(one.setting, one.why, one.add) for one in found])
    else:
        note(f"{dagster_home(settings)}: dagster.yaml lacks nothing")
    return FAILED if found else 0


@config.command(
    epilog="Example: elt-assets config secure --reader app_reader --row-security\n\n"
    "Defaults: ELT_ASSETS_OPERATIONAL_READER and _ROW_SECURITY; where these are unset, the "
    "earlier decision stays."
)
@click.option("--reader", metavar="ROLE", help="Role that may read the latest tables.")
@click.option("--no-reader", is_flag=True, help="Let no role read the latest tables.")
@click.option(
    "--row-security/--no-row-security",
    default=None,
    help="Show that role one organization at a time, or all at once.",
)
@as_person
@as_json
def secure(reader: str | None, no_reader: bool, row_security: bool | None, as_json: bool) -> None:
    """Remove excess rights on files, and on the latest tables in PostgreSQL.

    Files of the home folder stay accessible to this account, and to its group as
    ELT_ASSETS_GROUP_ACCESS permits. The database stores which role may read the latest tables;
    only this command changes it, and every other role loses its rights on these tables.
    """
    if reader is not None and no_reader:
        raise click.UsageError("give --reader or --no-reader, not both")

    from elt_assets.storage.home import secure_files
    from elt_assets.storage.operational.postgres_access import ReaderAccess
    from elt_assets.storage.operational.postgres_database import PostgresDatabase
    from elt_assets.sync.admin.reader_access import secure_readers, wished
    from elt_assets.sync.service import SyncService

    settings = load_settings()
    # This comes first, because a home that others can write to is not opened.
    tightened = secure_files(settings)
    with SyncService.open(settings) as platform:
        database = platform.database
        stored = database.access() if isinstance(database, PostgresDatabase) else None
        wish = wished(settings, stored)
        access = ReaderAccess(
            None if no_reader else reader or wish.reader,
            wish.row_security if row_security is None else row_security,
        )
        revoked: list[str] = []
        if access != ReaderAccess() or isinstance(database, PostgresDatabase):
            revoked = secure_readers(database, platform.audit_log, access)
    if as_json:
        print_json(
            {
                "files": tightened,
                "reader": access.reader,
                "row_security": access.row_security,
                "revoked": revoked,
            }
        )
        return
    click.echo(f"Secured: {tightened:,} files had too many rights; {access}.")
    for role in revoked:
        note(f"{role} can no longer read the latest tables")
