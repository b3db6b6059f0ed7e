"""What all benchmarks share: contenders in processes of their own, results that hold all runs."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contender import Clock, run
from benchmarks.extract.provider import serving
from benchmarks.machine import described, machine
from benchmarks.results import markdown_table, summary, write


def working(rows: int) -> dict[str, Any]:
    """A contender."""
    clock = Clock()
    sum(range(100_000))
    clock.read("staged")
    return clock.answer(rows) | {"folder": str(Path.cwd())}


def failing(rows: int) -> dict[str, Any]:
    """A contender that does not get to its end."""
    raise ValueError("no rows")


def test_a_contender_runs_in_a_process_and_a_folder_of_its_own(tmp_path: Path) -> None:
    answer = run(f"{__name__}:working", {"rows": 3}, tmp_path)
    assert (answer["rows"], answer["folder"]) == (3, str(tmp_path))
    assert answer["seconds"]["staged"] > 0
    assert answer["peak_mib"] > 0


def test_a_contender_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ValueError: no rows"):
        run(f"{__name__}:failing", {"rows": 3}, tmp_path)


def test_processor_time_leaves_out_waiting() -> None:
    clock = Clock()
    time.sleep(0.1)
    clock.read("waited")
    answer = clock.answer(1)
    assert answer["seconds"]["waited"] >= 0.1 > answer["cpu"]["waited"]


def test_a_summary_keeps_every_run() -> None:
    assert summary([3, 1, 2.5]) == {"runs": [3, 1, 2.5], "minimum": 1, "median": 2.5}


def test_results_are_written_as_json_and_markdown(tmp_path: Path) -> None:
    paths = write(tmp_path / "new", "x", {"a": 1}, markdown_table(("a", "b"), [("1", "2")]))
    assert json.loads(paths[0].read_text()) == {"a": 1}
    assert paths[1].read_text() == "| a | b |\n| --- | ---: |\n| 1 | 2 |\n"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["x.json", "x.md"]


def test_the_machine_is_described_in_a_line() -> None:
    facts = machine(["duckdb", "no-such-package"])
    assert facts["versions"]["no-such-package"] == "not installed"
    assert "\n" not in described(facts)


@pytest.mark.parametrize("pagination", ["cursor", "link_header", "next_url"])
def test_the_server_leads_through_every_user_once(pagination: str) -> None:
    seen: list[str] = []
    with serving(25, 0) as url:
        following: str | None = f"{url}/{pagination}?size=10&of=25"
        while following is not None:
            with urllib.request.urlopen(following) as answer:
                page = json.load(answer)
                link = answer.headers.get("link")
            seen += [user["id"] for user in (page if link or type(page) is list else page["items"])]
            if pagination == "link_header":
                following = link and link[1:].partition(">")[0]
            elif page["next"] is None:
                following = None
            else:
                token = f"{url}/cursor?size=10&of=25&after={page['next']}"
                following = token if pagination == "cursor" else page["next"]
    assert len(seen) == len(set(seen)) == 25
