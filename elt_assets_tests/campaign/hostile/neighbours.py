"""Two honest tenants and a hostile one in one run, attack by attack: what it costs the honest ones.

Each run has a process of its own. What an attack is made of stands in the tests of deadlines and
of pages.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.connectors.http.test_deadlines import DRIPS, server
from elt_assets_tests.connectors.json.test_page_costs import BOMBS, COUNTED
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

MOST_TIMES = 1.5
"""How much longer the honest ones may take."""
MOST_PAIRS = 4
"""How often an attack is repeated before its time counts."""
MOST_BYTES = 6 * 64 * 2**20
"""How much more memory a run may take: six times the largest page."""
PAGES, PAGE_SIZE = 100, 100
_ANSWERS_AFTER = 0.04

Attack = Callable[[], AbstractContextManager[str]]


@contextmanager
def bomb(make: Callable[[], bytes]) -> Iterator[str]:
    """The address of a provider whose every page is such a body, compressed."""
    packed = gzip.compress(make(), 1)
    with Provider(lambda _: Reply(packed, headers={"Content-Encoding": "gzip"})) as provider:
        yield provider.url


ATTACKS: dict[str, Attack] = {
    **{f"drips {place}": partial(server, parts, 0.02) for place, parts in DRIPS.items()},
    **{
        f"a page of {name}": partial(bomb, make)
        for name, (make, expected) in BOMBS.items()
        if expected != COUNTED
    },
}


@dataclass(frozen=True)
class Run:
    """What one run came to."""

    seconds: float
    """Until the last honest tenant was done."""
    peak: int
    honest: tuple[str, ...]
    hostile: str | None


def honest(asked: Asked) -> Reply:
    """A hundred pages of people, each after a moment."""
    number = int(asked.query.get("cursor", "0"))
    time.sleep(_ANSWERS_AFTER)
    people = [
        {"id": f"u-{number}-{n}", "name": f"Person {n}", "email": f"p{n}@example.com"}
        for n in range(PAGE_SIZE)
    ]
    return as_json({"items": people, "next": str(number + 1) if number + 1 < PAGES else None})


def run(home: Path, honest_url: str, hostile_url: str | None) -> Run:
    """Sync the tenants once, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(home), honest_url, hostile_url or ""],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return Run(found["seconds"], found["peak"], tuple(found["honest"]), found["hostile"])


def hostile_campaign(folder: Path, repeats: int, names: tuple[str, ...] = ()) -> Figures:
    """Every attack, or those named, each in so many runs.

    What else the machine does meanwhile makes runs slower. An attack that takes too long is
    repeated next to a run without it, and the best of these pairs counts.
    """
    figures = Figures("hostile neighbours")
    with Provider(honest) as provider:

        def runs_of(name: str, url: str | None, first: int, count: int) -> list[Run]:
            return [
                run(folder / f"{name.replace(' ', '-')}-{n}", provider.url, url)
                for n in range(first, first + count)
            ]

        alone = runs_of("alone", None, 0, 2)
        seconds = min(one.seconds for one in alone)
        memory = min(one.peak for one in alone)
        figures.seen["ms for the honest ones alone"] = round(seconds * 1000)
        figures.seen["MiB for the honest ones alone"] = memory >> 20
        for name in names or tuple(ATTACKS):
            with ATTACKS[name]() as url:
                runs = runs_of(name, url, 0, repeats)
                times = min(one.seconds for one in runs) / seconds
                for pair in range(repeats, repeats + MOST_PAIRS):
                    if times <= MOST_TIMES:
                        break
                    (without,) = runs_of(f"alone next to {name}", None, pair, 1)
                    runs += runs_of(name, url, pair, 1)
                    times = min(times, runs[-1].seconds / without.seconds)
            peak = max(one.peak for one in runs)
            figures.seen[f"% of that time: {name}"] = round(times * 100)
            figures.seen[f"MiB: {name}"] = peak >> 20
            figures.fired[f"attack: {name}"] += sum(one.hostile == "failed" for one in runs)
            figures.judge(name, _violations(name, times, peak - memory, runs))
    figures.missing = figures.never_fired(f"attack: {name}" for name in names or ATTACKS)
    return figures


def _violations(name: str, times: float, more: int, runs: list[Run]) -> Iterator[Violation]:
    if times > MOST_TIMES:
        yield Violation("slower", name, f"the honest ones took {times:.2f} times as long")
    if more > MOST_BYTES:
        yield Violation("memory", name, f"{more:,} bytes more")
    if any(status != "applied" for one in runs for status in one.honest):
        yield Violation("harmed", name, str([one.honest for one in runs]))


def main(home: str, honest_url: str, hostile_url: str) -> None:
    """One run; prints its figures as JSON."""
    from elt_assets.config.settings import load_settings
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.sync.service import Platform
    from elt_assets.sync.streams import USERS

    settings = load_settings(home=Path(home), fetch_attempts=1, request_timeout=3)
    refs = [IntegrationRef("acme", "main"), IntegrationRef("globex", "main")]
    hostile = IntegrationRef("evil", "main")
    # The hostile one first: it has its slot when the others begin.
    places = {hostile: hostile_url} if hostile_url else {}
    places |= dict.fromkeys(refs, honest_url)
    status: dict[str, str] = {}
    with Platform.open(settings) as platform:
        for ref, url in places.items():
            platform.registry.add(ref, "rest", described(url.rstrip("/")))
        begun = time.monotonic()
        seconds = 0.0
        for outcome in platform.sync(USERS, list(places), sync_id="s1"):
            status[outcome.partition] = str(outcome.status)
            if outcome.partition != str(hostile):
                seconds = time.monotonic() - begun
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    print(
        json.dumps(
            {
                "seconds": seconds,
                "peak": peak,
                "honest": [status[str(ref)] for ref in refs],
                "hostile": status.get(str(hostile)),
            }
        )
    )


def described(url: str) -> dict[str, Any]:
    """provider_data of a tenant whose provider is there."""
    return {
        "api_endpoint": url,
        "streams": {
            "users": {
                "path": "/users",
                "records": "items",
                "pagination": {"type": "cursor", "cursor": "next", "param": "cursor"},
                "fields": {"external_id": "id", "name": "name", "email": "email"},
            }
        },
    }


if __name__ == "__main__":
    main(*sys.argv[1:4])
