"""What workers find done when they are forked: DuckDB's extensions are loaded and checked.

Belongs here: that. Does not: anything that has a thread or a connection when it is done. To
be named to a server that forks, and imported by nobody else.
"""

from __future__ import annotations

from contextlib import closing

import duckdb

from elt_assets.config.settings import load_settings
from elt_assets.storage.warehouse.duckdb_extensions import CHECKED_ONCE, load_extension

if load_settings().warehouse_url is not None:
    with closing(duckdb.connect(":memory:", config=CHECKED_ONCE | {"threads": 1})) as _instance:
        for _name in ("ducklake", "postgres_scanner"):
            load_extension(_instance, _name)
