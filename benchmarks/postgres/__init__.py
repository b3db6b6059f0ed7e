"""What an apply to PostgreSQL costs beside a bare COPY and upsert on the same server."""

from __future__ import annotations
