"""Open Dagster's instance in a command, with DAGSTER_HOME and dagster.yaml in place."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from elt_assets.config.settings import Settings
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.instance.config_file import (
    CONFIG_FILE,
    follow,
    refuse_contradiction,
    refuse_what_is_not_installed,
)
from elt_assets.orchestration.instance.database_check import check_instance
from elt_assets.storage.home import prepare_home

# The standard error of a command shows progress. Dagster would capture it into a file by default,
# and start two processes for each run.
_NOTHING_CAPTURED = {
    "compute_logs": {
        "module": "dagster.core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


def dagster_home(settings: Settings) -> Path:
    """The folder to use as DAGSTER_HOME, ready for use.

    It is the folder of that variable, which is not changed, or else a folder of the installation,
    whose dagster.yaml follows the settings until a person changes it. Raises `InvalidInput` for a
    dagster.yaml that contradicts the settings.
    """
    refuse_what_is_not_installed(settings)
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen:
        home = Path(chosen).expanduser()
        if not home.is_dir() or not home.is_absolute():
            raise InvalidInput(
                f"DAGSTER_HOME is {chosen!r}, which is not the absolute path of a folder; "
                "create it, or unset the variable to use the installation's own"
            )
        refuse_contradiction(home / CONFIG_FILE, settings)
        return home
    home = settings.dagster_path
    prepare_home(settings)
    home.mkdir(exist_ok=True)
    follow(home / CONFIG_FILE, settings)
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The persistent instance, for runs inside a command; use it as a context manager.

    Raises `InstanceUnusable` if its database does not answer or refuses the connection.
    """
    # Despite its name, `local_temp` opens a persistent instance in the given folder, from the
    # dagster.yaml there. It is the only public way to override parts of that file.
    home = str(dagster_home(settings))
    if settings.dagster_address is not None:
        check_instance(settings.dagster_address)
    return dg.DagsterInstance.local_temp(home, overrides=_NOTHING_CAPTURED)
