"""A query against PostgreSQL, MySQL, MariaDB or SQLite as a source."""

from __future__ import annotations
