"""A process that commits batches, on command, to the lake that its environment names.

The commits are counted in `measure`.
"""

from __future__ import annotations

import sys

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import warehouses
from elt_assets.sync.state.store_tables import prepare_warehouse, warehouse_layout
from elt_assets.sync.streams import USERS, StreamKey

_RECORDS = f"""
    SELECT
        's' AS sync_id, $batch AS batch, n AS seq, uuid() AS id, 'u-' || n AS external_id,
        'Person ' || n AS name, 'p' || n || '@example.com' AS email, true AS active,
        '{{}}' AS attributes, false AS tombstone, md5('' || n) AS content_hash,
        '{{"id": "u-1", "profile": {{"name": "Person"}}}}' AS raw, now()::TIMESTAMP AS created_at
    FROM range({1_000}) AS listed(n)
"""


def main(number: str, commits: int) -> None:
    """Commit `commits` batches to integration `number`."""
    opened = warehouses(load_settings(), warehouse_layout())
    ref = IntegrationRef("measured", f"p-{number}")
    with opened.open(ref) as warehouse:
        prepare_warehouse(warehouse, StreamKey(USERS, ref))
        print("ready", flush=True)
        sys.stdin.readline()
        for batch in range(commits):
            with warehouse.transaction():
                warehouse.add(USERS.landed, _RECORDS, {"batch": batch})
    opened.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
