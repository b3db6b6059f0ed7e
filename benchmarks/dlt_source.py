"""The directory of `extract.provider` as a dlt source, merged by key."""

from __future__ import annotations

from typing import Any

from benchmarks.extract.provider import TOKEN


def users(url: str, count: int, page_size: int, strategy: str = "upsert") -> Any:
    """dlt's `rest_api` source of `count` users, with one of dlt's merge strategies."""
    from dlt.sources.rest_api import rest_api_source

    endpoint: Any = {
        "path": "cursor",
        "params": {"size": page_size, "of": count},
        "data_selector": "items",
        "paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "after"},
    }
    return rest_api_source(
        {
            "client": {"base_url": url, "auth": {"type": "bearer", "token": TOKEN}},
            "resources": [
                {
                    "name": "users",
                    "endpoint": endpoint,
                    "primary_key": "id",
                    "write_disposition": {"disposition": "merge", "strategy": strategy},
                }
            ],
        }
    )
