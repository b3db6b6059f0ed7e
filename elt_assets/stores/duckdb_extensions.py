"""DuckDB's extensions, from wheels that were installed along with everything else.

Belongs here: finding and loading them. Does not: what they are used for.

DuckDB would download an extension when it is first needed. A machine without a way out cannot,
and one that can would run code that no lock file pins.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import duckdb

from elt_assets.errors import PermanentError


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension into the instance of `connection`, from its wheel or DuckDB's folder.

    Raises `PermanentError` when it is in neither.
    """
    file = _from_wheel(name)
    try:
        connection.execute(f"LOAD '{file}'" if file else f"LOAD {name}")
    except duckdb.Error as error:
        raise PermanentError(
            f"DuckDB's extension {name} cannot be loaded ({str(error).splitlines()[0]}); install "
            f"it with `pip install 'elt-assets[lake]'`, whose wheels are for DuckDB 1.5.5 (this is "
            f"{duckdb.__version__}), or with DuckDB's own INSTALL {name}"
        ) from None


def _from_wheel(name: str) -> Path | None:
    found = find_spec(f"duckdb_extension_{name}")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "extensions", f"v{duckdb.__version__}", f"{name}.duckdb_extension")
        if file.exists():
            return file
    return None
