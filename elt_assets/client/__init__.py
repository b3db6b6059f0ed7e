"""Start and follow runs, in this process or through a Dagster web server's GraphQL API."""

from __future__ import annotations
