"""Dagster's instance: where its files lie, the settings we ship, opening it in a command.

Belongs here: DAGSTER_HOME and dagster.yaml. Does not: anything about runs or partitions,
and nothing that the web server and the daemon do for themselves.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import resources
from pathlib import Path

import dagster as dg

from elt_assets.errors import InvalidInput
from elt_assets.settings import Settings

CONFIG_FILE = "dagster.yaml"

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
    folder of the installation's own, which gets our dagster.yaml unless it has one.
    """
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen:
        home = Path(chosen).expanduser()
        if not home.is_dir() or not home.is_absolute():
            raise InvalidInput(
                f"DAGSTER_HOME is {chosen!r}, which is not the absolute path of a folder; "
                "create it, or unset the variable to use the installation's own"
            )
        return home
    home = settings.dagster_path
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.mkdir(exist_ok=True, mode=0o700)
    with suppress(FileExistsError), (home / CONFIG_FILE).open("x", encoding="utf-8") as config:
        config.write(shipped_config())
    return home


def shipped_config() -> str:
    """The dagster.yaml that comes with the package."""
    return resources.files("elt_assets").joinpath(CONFIG_FILE).read_text(encoding="utf-8")


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The persistent instance, for runs inside a command; use it as a context manager."""
    # The name promises a temporary instance; what it makes is a persistent one in the given
    # folder, from that folder's dagster.yaml, and the only public way to override parts of it.
    return dg.DagsterInstance.local_temp(str(dagster_home(settings)), overrides=_NOTHING_CAPTURED)
