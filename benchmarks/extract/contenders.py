"""The contenders: our own extraction, and dlt's two ways to read a REST API.

Each contender runs from its configuration to its staged rows, with the fastest settings that its
own documentation gives. Each one first reads one page of another listing, so that imports, first
connections and first files are not measured.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.contender import Clock
from benchmarks.extract.provider import TOKEN

PAGINATIONS = ("cursor", "link_header", "next_url", "page", "offset", "scim")


def elt_assets(
    url: str, pagination: str, users: int, page_size: int, concurrency: int
) -> dict[str, Any]:
    """Fetch, map, key, hash and commit users to `users_staging`, checkpoints included."""
    from elt_assets.config.settings import load_settings
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.sync.outcome import Stage
    from elt_assets.sync.service import SyncService
    from elt_assets.sync.streams import USERS

    os.environ["BENCHMARK_TOKEN"] = TOKEN
    warm, measured = IntegrationRef("benchmark", "warm"), IntegrationRef("benchmark", "measured")
    with SyncService.open(load_settings(home=Path("home"))) as platform:
        for ref, count in ((warm, 1), (measured, users)):
            platform.registry.add(
                ref, "rest", _provider_data(url, pagination, count, page_size, concurrency)
            )
        list(platform.sync(USERS, [warm], sync_id="one", until=Stage.STAGING))
        clock = Clock()
        (outcome,) = platform.sync(USERS, [measured], sync_id="one", until=Stage.STAGING)
        clock.read("staged")
        if not outcome.certificate.complete:
            raise RuntimeError(f"{outcome.error} {outcome.certificate.reasons}")
        rows = platform.counts(USERS, measured)["staged"]
    return clock.answer(rows) | {"stages": outcome.seconds}


def dlt_rest_client(
    url: str, pagination: str, users: int, page_size: int, concurrency: int
) -> dict[str, Any]:
    """dlt's RESTClient in a resource; it fetches the pages of a listing one after the other."""
    import dlt
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.auth import BearerTokenAuth

    def resource(count: int) -> Any:
        client = RESTClient(
            base_url=url,
            auth=BearerTokenAuth(TOKEN),
            paginator=_paginator(pagination, page_size),
            data_selector=_records(pagination) or "$",
        )

        def listing() -> Any:
            yield from client.paginate(f"/{pagination}", params=_params(page_size, count))

        return dlt.resource(listing, name="users", write_disposition="append")

    return _dlt(resource, users)


def dlt_rest_api(
    url: str, pagination: str, users: int, page_size: int, concurrency: int
) -> dict[str, Any]:
    """dlt's declarative `rest_api` source."""
    from dlt.sources.rest_api import rest_api_source

    def source(count: int) -> Any:
        endpoint: dict[str, Any] = {
            "path": pagination,
            "params": _params(page_size, count),
            "paginator": _paginator(pagination, page_size),
        }
        if records := _records(pagination):
            endpoint["data_selector"] = records
        return rest_api_source(
            {
                "client": {"base_url": url, "auth": {"type": "bearer", "token": TOKEN}},
                "resources": [{"name": "users", "endpoint": endpoint}],
            }
        )

    return _dlt(source, users)


def indexed(url: str, users: int, page_size: int, concurrency: int) -> dict[str, Any]:
    """The connection of a directory with numbered pages, several of them requested at once."""
    return _provider_data(url, "page", users, page_size, concurrency)


def _provider_data(
    url: str, pagination: str, users: int, page_size: int, concurrency: int
) -> dict[str, Any]:
    described: dict[str, dict[str, Any]] = {
        "cursor": {"cursor": "next", "param": "after"},
        "next_url": {"url": "next"},
        "offset": {"size_param": "limit", "size": page_size},
        "scim": {"count": page_size},
    }
    stream: dict[str, Any] = {
        "path": f"/{pagination}",
        "params": _params(page_size, users),
        "records": _records(pagination) or "",
        "pagination": {"type": pagination, **described.get(pagination, {})},
        "fields": {
            "external_id": "id",
            "name": "profile.displayName",
            "email": "profile.email",
            "active": 'status == "ACTIVE"',
            "source_updated_at": "lastUpdated",
            "department": "profile.department",
            "title": "profile.title",
        },
    }
    if pagination == "offset":
        stream["total"] = "total"
    return {
        "api_endpoint": url,
        "auth": {"type": "bearer", "token": {"env": "BENCHMARK_TOKEN"}},
        "rate_limit": {"concurrency": concurrency},
        "streams": {"users": stream},
    }


def _params(page_size: int, users: int) -> dict[str, Any]:
    return {"size": page_size, "of": users}


def _records(pagination: str) -> str | None:
    return {"link_header": None, "scim": "Resources"}.get(pagination, "items")


def _paginator(pagination: str, page_size: int) -> Any:
    from dlt.sources.helpers.rest_client.paginators import (
        HeaderLinkPaginator,
        JSONLinkPaginator,
        JSONResponseCursorPaginator,
        OffsetPaginator,
        PageNumberPaginator,
    )

    match pagination:
        case "cursor":
            return JSONResponseCursorPaginator(cursor_path="next", cursor_param="after")
        case "link_header":
            return HeaderLinkPaginator()
        case "next_url":
            return JSONLinkPaginator(next_url_path="next")
        case "page":
            return PageNumberPaginator(base_page=1, page_param="page", total_path=None)
        case "offset":
            return OffsetPaginator(
                page_size, offset_param="offset", limit_param="limit", total_path="total"
            )
    return OffsetPaginator(
        page_size,
        offset=1,
        offset_param="startIndex",
        limit_param="count",
        total_path="totalResults",
    )


def _dlt(source: Any, users: int) -> dict[str, Any]:
    """Time until dlt's own files hold the records, and until a DuckDB table holds them."""
    import dlt

    def pipeline(name: str) -> Any:
        return dlt.pipeline(
            pipeline_name=name,
            pipelines_dir="pipelines",
            destination=dlt.destinations.duckdb(f"{name}.duckdb"),
            dataset_name="staging",
        )

    warm = pipeline("warm")
    warm.run(source(1), loader_file_format="parquet")
    measured = pipeline("measured")
    clock = Clock()
    measured.extract(source(users), loader_file_format="parquet")
    clock.read("staged")
    measured.normalize()
    measured.load()
    clock.read("loaded")
    with measured.sql_client() as client:
        ((rows,),) = client.execute_sql("SELECT count(*) FROM users")
    return clock.answer(rows)
