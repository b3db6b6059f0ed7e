"""The cost of an apply to PostgreSQL, compared with a bare COPY and upsert on the same server."""

from __future__ import annotations
