"""A lake for tests: its catalog on the tests' PostgreSQL, its files in a temporary folder.

Belongs here: its settings, and emptying it between tests. Does not: the server (servers).
"""

from __future__ import annotations

from pathlib import Path

from elt_assets.settings import load_settings
from elt_assets.stores.opening import warehouses
from elt_assets.sync.tables import warehouse_layout
from elt_assets_tests.servers import Server


class Lake:
    """A lake in the schema `schema` of a server, with its files in `data`."""

    def __init__(self, server: Server, schema: str, data: Path) -> None:
        self.server = server
        self.schema = schema
        self.data = data

    def settings(self) -> dict[str, str]:
        """The environment of an installation whose warehouse this is."""
        operational = self.server.settings("unused")
        return {
            "ELT_ASSETS_WAREHOUSE_URL": operational["ELT_ASSETS_OPERATIONAL_URL"],
            "ELT_ASSETS_WAREHOUSE_PASSWORD": operational["ELT_ASSETS_OPERATIONAL_PASSWORD"],
            "ELT_ASSETS_WAREHOUSE_SCHEMA": self.schema,
            "ELT_ASSETS_WAREHOUSE_DATA": str(self.data),
        }

    def empty(self) -> None:
        """Forget every integration; records that no book names are seen by nobody."""
        opened = warehouses(load_settings(), warehouse_layout())
        try:
            opened.refs()
        finally:
            opened.close()
        books = [table.name for table in warehouse_layout().tables if not table.records]
        names = ", ".join(
            f'"{self.schema}".{table}' for table in (*books, "stored_writes", "integration_leases")
        )
        self.server.execute(f"TRUNCATE {names}")
