"""Load DuckDB's extensions from wheels that were installed with the package.

DuckDB would download an extension when it is first needed. A machine without internet access
cannot, and one with it would run code that no lock file pins.
"""

from __future__ import annotations

from contextlib import closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import duckdb

from elt_assets.errors import PermanentError

CHECKED_ONCE = {"allow_unsigned_extensions": "true"}
"""The option of an instance that need not check what `load_extension` has had checked."""


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension into the instance of `connection`, from its wheel or DuckDB's folder.

    Its signature is checked when this process loads it for the first time. Raises
    `PermanentError` when it is in neither, or is not what DuckDB's authors signed.
    """
    file = _from_wheel(name)
    source = f"'{file}'" if file else name
    try:
        _check(source)
        connection.execute(f"LOAD {source}")
    except duckdb.Error as error:
        raise PermanentError(
            f"DuckDB's extension {name} cannot be loaded ({str(error).splitlines()[0]}); install "
            f"it with `pip install 'elt-assets[lake]'`, whose wheels are for DuckDB 1.5.5 (this is "
            f"{duckdb.__version__}), or with DuckDB's own INSTALL {name}"
        ) from None


@cache
def _check(source: str) -> None:
    """Load it once where its signature must be right.

    DuckDB works that out again for every instance, from the whole 40 MB of a file; that takes
    longer than all else that an instance needs.
    """
    with closing(duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})) as own:
        own.execute(f"LOAD {source}")


def _from_wheel(name: str) -> Path | None:
    found = find_spec(f"duckdb_extension_{name}")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "extensions", f"v{duckdb.__version__}", f"{name}.duckdb_extension")
        if file.exists():
            return file
    return None
