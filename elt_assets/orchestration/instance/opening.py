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
from elt_assets.orchestration.instance.database_check import look_at_instance
from elt_assets.storage.home import prepare_home

# A command's own standard error shows progress. Capturing it into a file, as Dagster does
# by default, would take the terminal away and start two processes a run.
_NOTHING_CAPTURED = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


def dagster_home(settings: Settings) -> Path:
    """The folder to use as DAGSTER_HOME, ready for use.

    The variable wins where it is set, and that folder is left as it is. Otherwise it is a
    folder of the installation's own, whose dagster.yaml follows the settings until a person
    changes it. Raises `InvalidInput` where a dagster.yaml contradicts them.
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

    Raises `InstanceUnusable` if it is in a database that does not answer, or refuses us.
    """
    # The name promises a temporary instance; what it makes is a persistent one in the given
    # folder, from that folder's dagster.yaml, and the only public way to override parts of it.
    home = str(dagster_home(settings))
    if settings.dagster_address is not None:
        look_at_instance(settings.dagster_address)
    return dg.DagsterInstance.local_temp(home, overrides=_NOTHING_CAPTURED)
