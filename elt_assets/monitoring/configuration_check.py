"""Check everything that the settings configure: whether it exists and grants the needed rights."""

from __future__ import annotations

import os
from collections.abc import Iterator

from elt_assets.config.settings import InvalidSettings, Settings, load_settings
from elt_assets.errors import EltAssetsError, InvalidInput
from elt_assets.monitoring.health_report import Check, disk, warehouse, workers
from elt_assets.storage.from_settings import operational_database
from elt_assets.storage.home import GroupAccess, loose, refuse_name
from elt_assets.storage.operational.database import OperationalDatabase

_LISTED = 10
_AND: dict[GroupAccess, str] = {
    "none": "",
    "read": ", and its group to read",
    "write": " and its group",
}


def configuration() -> Iterator[Check]:
    """Check everything; with invalid settings, report only these."""
    try:
        settings = load_settings()
    except InvalidSettings as error:
        yield from (Check("settings", False, mistake) for mistake in error.mistakes)
        return
    try:
        refuse_name(settings.home)
    except InvalidInput as error:
        yield Check("settings", False, str(error))
        return
    yield Check("settings", True, f"valid; the home folder is {settings.home}")
    yield _rights(settings)
    yield from _operational(settings)
    yield disk(settings)
    yield warehouse(settings)
    yield _dagster(settings)
    if settings.broker_address is not None:
        yield workers(settings.broker_address)


def _rights(settings: Settings) -> Check:
    found = [*loose(settings)]
    if not found:
        return Check("permissions", True, f"only this account{_AND[settings.group_access]}")
    return Check(
        "permissions",
        False,
        f"{len(found):,} files and folders are open to others: {found[0]}; run `elt-assets config "
        "secure`",
        sample=tuple(found[:_LISTED]),
    )


def _operational(settings: Settings) -> Iterator[Check]:
    database = operational_database(settings, attempts=1)
    name = "operational database"
    try:
        yield Check(name, True, database.inspect())
        if settings.operational_address is not None:
            yield from _readers(settings, database)
    except EltAssetsError as error:
        yield Check(name, False, str(error))
    finally:
        database.close()


def _readers(settings: Settings, database: OperationalDatabase) -> Iterator[Check]:
    # Imported here, because an installation on SQLite does not need them.
    from elt_assets.storage.operational.postgres_database import PostgresDatabase
    from elt_assets.sync.admin.reader_access import look_at_readers

    if isinstance(database, PostgresDatabase):
        yield Check("readers", *look_at_readers(database, settings))


def _dagster(settings: Settings) -> Check:
    # Imported here, because importing Dagster takes 1.5 s.
    from dagster import DagsterError

    from elt_assets.orchestration.instance.database_check import check_instance
    from elt_assets.orchestration.instance.opening import dagster_home, open_instance

    try:
        if not (settings.home.exists() or os.environ.get("DAGSTER_HOME")):
            # Opening the instance would create the home.
            place = f"{settings.dagster_path} is made when something is synced"
            if settings.dagster_address is not None:
                place = check_instance(settings.dagster_address)
            return Check("dagster", True, place)
        with open_instance(settings) as instance:
            runs = instance.get_runs_count()
        place = str(dagster_home(settings))
        if settings.dagster_address is not None:
            place = check_instance(settings.dagster_address)
        return Check("dagster", True, f"{runs:,} runs in {place}")
    except (EltAssetsError, DagsterError, OSError) as error:
        return Check("dagster", False, str(error).partition("\n")[0])
