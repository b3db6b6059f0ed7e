"""Launch one run for each range of partitions, with the tags that name the range and its lane.

If launching fails halfway, the error names the runs that were started.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from elt_assets.client.run_descriptions import Job
from elt_assets.client.web_server import Server
from elt_assets.errors import EltAssetsError
from elt_assets.orchestration.jobs.sync_jobs import LANE_TAG
from elt_assets.orchestration.partitions import partition_tags


class Launched(msgspec.Struct, frozen=True):
    """A run that was started: its range, and how many partitions of the range were wanted."""

    job: str
    run_id: str
    first: str
    last: str
    partitions: int


def launch_ranges(
    server: Server,
    job: Job,
    ranges: Iterable[Sequence[str]],
    *,
    wanted: Container[str] | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    group: str = "",
    parallel: int | None = None,
    to_go_on: str = "repeat the command to start the rest",
) -> list[Launched]:
    """Start one run of `job` for each range, in this order; a range's keys are contiguous.

    A range may include keys that are not `wanted`, to keep it in one piece.
    With `parallel`, at most that many runs are active at once: `group`, a name of this launch
    alone, gets that many lanes, and the queue lets one run at a time into each.
    Raises the server's error, with the number of runs already started and `to_go_on`.
    """
    launched: list[Launched] = []
    for number, keys in enumerate(ranges):
        lane = {LANE_TAG: f"{group}/{number % parallel}"} if parallel else {}
        try:
            run_id = server.launch(
                job, config or {}, {**(tags or {}), **lane, **partition_tags(keys)}
            )
        except EltAssetsError as error:
            if not launched:
                raise
            raise type(error)(
                f"{error} (after {len(launched)} runs were started, the last for "
                f"{launched[-1].last}; {to_go_on})"
            ) from error
        meant = sum(wanted is None or key in wanted for key in keys)
        launched.append(Launched(job.name, run_id, keys[0], keys[-1], meant))
    return launched
