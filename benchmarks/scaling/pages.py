"""How long Dagster's web UI takes with a fleet: its pages in a browser, and its slowest query.

Example: python -m benchmarks.scaling.pages 10000
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Request

from benchmarks.scaling.fleet import fleet
from elt_assets_tests.browser.night import web_ui
from elt_assets_tests.browser.screen import screen

PAGES = {
    "catalog": "/assets",
    "table": "/assets/users_latest",
    "partitions of a table": "/assets/users_latest?view=partitions",
    "checks of a table": "/assets/users_latest?view=checks",
    "asset graph": "/asset-groups",
    "runs": "/runs",
    "automation": "/automation",
    "job": "/locations/elt_assets.definitions/jobs/sync",
}
_IDLE = 0.5
"""Seconds without a request after which the browser calls the network idle."""


def main() -> None:
    """Print for each page: seconds until it loads nothing more, and its slowest query."""
    integrations = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        with chdir(folder), fleet(integrations, days=2):
            pass
        with web_ui(folder, folder / "home") as url, screen(url) as duty:
            duty.begin()
            for title, path in PAGES.items():
                for visit in ("first", "again"):
                    seconds, query, slowest = _opened(duty.page, url + path)
                    print(
                        f"{integrations:,} {title}, {visit}: {seconds:.1f} s,"
                        f" of it {query} {slowest:.1f} s",
                        flush=True,
                    )


def _opened(page: Page, url: str) -> tuple[float, str, float]:
    """Seconds of loading the page, and name and seconds of its slowest query."""
    queries: list[tuple[float, str]] = []

    def ended(request: Request) -> None:
        if "/graphql" in request.url:
            asked: Any = request.post_data_json or {}
            queries.append((request.timing["responseEnd"] / 1000, asked.get("operationName", "?")))

    page.on("requestfinished", ended)
    started = time.perf_counter()
    page.goto(url)
    page.wait_for_load_state("networkidle", timeout=300_000)
    seconds = time.perf_counter() - started - _IDLE
    page.remove_listener("requestfinished", ended)
    slowest, query = max(queries, default=(0.0, "no query"))
    return seconds, query, slowest


if __name__ == "__main__":
    main()
