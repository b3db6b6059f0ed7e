"""A lake for tests: its catalog on the tests' PostgreSQL, its files in a temporary folder.

The module makes its settings and empties it between tests. The server is in `servers`.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import ClassVar

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import warehouses
from elt_assets.sync.state.store_tables import warehouse_layout
from elt_assets_tests.testbed.servers import Server


class Lake:
    """A lake in the schema `schema` of a server, with its files in `data`."""

    current: ClassVar[Lake | None] = None
    """That which is the warehouse of the test that runs, if one is."""

    def __init__(self, server: Server, schema: str, data: Path) -> None:
        self.server = server
        self.schema = schema
        self.data = data
        self.kept = f"{schema}_as_made"
        self._made = False

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
        """Let it be as it was made, which takes much longer than forgetting what came after."""
        if not self._made:
            self._make()
        self.server.execute(
            f"""
            DO $$
            DECLARE found RECORD;
            BEGIN
                FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = '{self.schema}' LOOP
                    IF to_regclass(format('%I.%I', '{self.kept}', found.tablename)) IS NULL THEN
                        EXECUTE format('DROP TABLE %I.%I', '{self.schema}', found.tablename);
                    ELSE
                        EXECUTE format('DELETE FROM %I.%I', '{self.schema}', found.tablename);
                        EXECUTE format('INSERT INTO %I.%I SELECT * FROM %I.%I',
                            '{self.schema}', found.tablename, '{self.kept}', found.tablename);
                    END IF;
                END LOOP;
            END $$
            """
        )
        shutil.rmtree(self.data)
        self.data.mkdir()

    def _make(self) -> None:
        opened = warehouses(load_settings(), warehouse_layout())
        try:
            with opened.open(IntegrationRef("nobody", "at-all"), read_only=True):
                pass
        finally:
            opened.close()
        self.server.execute(
            f"""
            DO $$
            DECLARE found RECORD;
            BEGIN
                CREATE SCHEMA {self.kept};
                FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = '{self.schema}' LOOP
                    EXECUTE format('CREATE TABLE %I.%I AS TABLE %I.%I',
                        '{self.kept}', found.tablename, '{self.schema}', found.tablename);
                END LOOP;
            END $$
            """
        )
        self._made = True


def fresh_stores() -> dict[str, object]:
    """Settings of another installation of the same test, which comes after the one before it."""
    lake = Lake.current
    if lake is not None:
        lake.server.clear(lake.schema, lake.kept)
        lake.empty()
    return {"operational_schema": f"home_{uuid.uuid4().hex[:12]}"}
