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
from elt_assets.orchestration.names import LANE_TAG
from elt_assets.orchestration.partitions import partition_tags


class Launched(msgspec.Struct, frozen=True):
    """A run that was started: its range, and how many partitions of the range were wanted."""

    job: str
    run_id: str
    first: str
    last: str
    partitions: int


class Lanes(msgspec.Struct, frozen=True):
    """How many runs of one launch are active at once.

    `group` is unique to this launch. It has `parallel` lanes, and the queue lets one run at a
    time into each lane. Without `parallel` only the queue's other limits count.
    """

    group: str
    parallel: int | None

    def tags(self, number: int) -> dict[str, str]:
        """The tags of the run with this number."""
        return {LANE_TAG: f"{self.group}/{number % self.parallel}"} if self.parallel else {}


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of one launch have in common.

    A range may include keys that are not `wanted` (None: all are), so that it is contiguous.
    """

    job: Job
    config: Mapping[str, Any] = {}
    tags: Mapping[str, str] = {}
    lanes: Lanes = Lanes("", None)
    wanted: Container[str] | None = None
    to_go_on: str = "repeat the command to start the rest"


def launch_ranges(
    server: Server, launch: Launch, ranges: Iterable[Sequence[str]]
) -> list[Launched]:
    """Start one run for each range, in this order; a range's keys are contiguous.

    Raises the server's error, with the number of runs already started and `to_go_on`.
    """
    launched: list[Launched] = []
    job, wanted = launch.job, launch.wanted
    for number, keys in enumerate(ranges):
        tags = {**launch.tags, **launch.lanes.tags(number), **partition_tags(keys)}
        try:
            run_id = server.launch(job, launch.config, tags)
        except EltAssetsError as error:
            if not launched:
                raise
            raise type(error)(
                f"{error} (after {len(launched)} runs were started, the last for "
                f"{launched[-1].last}; {launch.to_go_on})"
            ) from error
        meant = sum(wanted is None or key in wanted for key in keys)
        launched.append(Launched(job.name, run_id, keys[0], keys[-1], meant))
    return launched
