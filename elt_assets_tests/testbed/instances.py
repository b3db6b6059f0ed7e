"""Dagster instances of tests: their empty databases are copies of some that are made once.

To make them takes a third of a second of processor time, longer than most tests do. Opening one
reads every migration script of Dagster: that is done once too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from elt_assets.config.settings import Settings
from elt_assets.orchestration.instance import opening
from elt_assets.orchestration.names import PARTITIONS

_DATABASES = "*/**/*.db"


@contextmanager
def copied_instances() -> Iterator[None]:
    """Let every instance that this process opens in a new folder begin with copies."""
    plain = opening.dagster_home
    with (
        TemporaryDirectory(prefix="instance-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        made = Settings(home=Path(folder))

        def dagster_home(settings: Settings) -> Path:
            home = plain(settings)
            if settings.dagster_address is None and home == settings.dagster_path:
                if not any(made.dagster_path.glob(_DATABASES)):
                    _make(made)
                if not any(home.glob(_DATABASES)):
                    _copy(made.dagster_path, home)
            return home

        def _make(settings: Settings) -> None:
            patch.setattr(opening, "dagster_home", plain)
            with opening.open_instance(settings) as instance:
                instance.get_runs(limit=1)
                instance.get_dynamic_partitions(PARTITIONS)
                instance.all_instigator_state()
            patch.setattr(opening, "dagster_home", dagster_home)

        read = ScriptDirectory.from_config
        known: dict[tuple[str | None, str | None], ScriptDirectory] = {}

        def scripts(config: Config) -> ScriptDirectory:
            key = config.config_file_name, config.get_main_option("script_location")
            if key not in known:
                known[key] = read(config)
            return known[key]

        patch.setattr(ScriptDirectory, "from_config", scripts)
        patch.setattr(opening, "dagster_home", dagster_home)
        yield


def _copy(made: Path, home: Path) -> None:
    for database in made.glob(_DATABASES):
        copy = home / database.relative_to(made)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Without its rights, which depend on the settings.
        shutil.copyfile(database, copy)
