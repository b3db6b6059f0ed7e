"""Preloaded by the server that forks workers: DuckDB's extensions, loaded and checked.

The import must leave no thread and no connection behind. No other process imports this module.
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
