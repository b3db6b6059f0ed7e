"""Load DuckDB's extensions from wheels that were installed with the package.

DuckDB would download an extension when it is first needed. A machine without internet access
cannot do that, and a machine with access would run code that no lock file pins.
"""

from __future__ import annotations

from contextlib import closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import duckdb

from elt_assets.errors import PermanentError

CHECKED_ONCE = {"allow_unsigned_extensions": "true"}
"""The options of an instance that skips signature checks, which `load_extension` does once."""


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension into the instance of `connection`, from its wheel or DuckDB's folder.

    Its signature is checked when this process loads the extension for the first time. Raises
    `PermanentError` when it is in neither place, or DuckDB's authors have not signed it.
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
    """Load the extension once in an instance that requires a valid signature.

    DuckDB would verify the signature for every instance, over the whole 40 MB of a file, which
    takes longer than all the rest of creating the instance.
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
