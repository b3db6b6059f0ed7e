"""The drop sensor: starts a sync of each integration whose folder has new or changed files."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import hashlib
from collections.abc import Callable, Mapping

import dagster as dg
import msgspec

from elt_assets.connectors.files.drop_watch import Drop, complete_drop
from elt_assets.errors import RetryableError
from elt_assets.orchestration.jobs.sync_jobs import sync_jobs
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.orchestration.partitions import partition_tags
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration


class Seen(msgspec.Struct, frozen=True):
    """The last seen state of one folder, and the sync requested for it."""

    look: str
    content: str
    sync_id: str


def news(
    partition: str, look: str, content: Callable[[], str], seen: Seen | None
) -> tuple[Seen, bool]:
    """The new state of a folder, and whether it needs a sync.

    The name of the sync depends on the content and the previous sync: a repeated tick requests the
    same sync, and a file that returns after another file requests a new one. `content` is called
    only when `look` has changed.
    """
    if seen is not None and seen.look == look:
        return seen, False
    found = content()
    if seen is not None and seen.content == found:
        return Seen(look, found, seen.sync_id), False
    before = "" if seen is None else seen.sync_id
    # Without a previous sync, the look of the folder makes the name unique.
    first = look if seen is None else ""
    name = hashlib.sha256(f"{partition}\n{before}\n{first}\n{found}".encode()).hexdigest()[:16]
    return Seen(look, found, f"drop-{name}"), True


def drop_sensor(at: Placement = STANDALONE) -> dg.SensorDefinition:
    """The sensor that watches the folders of all integrations of provider `files`.

    A quiet tick costs one listing of each folder.
    """

    @at.sensor(
        "drop_sensor",
        seconds=30,
        jobs=sync_jobs(at),
        description="Syncs integrations of provider files whose folder has new or changed "
        "files, once these are complete.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        before = remembered(context.cursor)
        after: dict[str, Seen] = {}
        requests = []
        partitions = set(context.instance.get_dynamic_partitions(at.partitions))
        for entry, drop in _drops(at.platform(context)):
            partition = entry.ref.partition_key
            seen = before.get(partition)
            if partition not in partitions or drop is None:
                # The integration has no partition yet or the folder cannot be read: retry later.
                if seen is not None:
                    after[partition] = seen
                continue
            try:
                after[partition], is_new = news(partition, drop.look, drop.content, seen)
            except RetryableError:
                continue
            if is_new:
                sync_id = after[partition].sync_id
                requests += [
                    dg.RunRequest(
                        run_key=f"{partition}/{stream.name}/{sync_id}",
                        job_name=at.job(stream),
                        tags={SYNC_ID_TAG: sync_id, **partition_tags([partition])},
                    )
                    for stream in at.streams
                    if entry.offers(stream)
                ]
        if after == before:
            return dg.SkipReason("no folder has new complete files")
        return dg.SensorResult(
            run_requests=requests, cursor=msgspec.json.encode(after, order="sorted").decode()
        )

    return sensor


def remembered(cursor: str | None) -> Mapping[str, Seen]:
    """The content of the sensor's cursor."""
    return msgspec.json.decode(cursor, type=dict[str, Seen]) if cursor else {}


def _drops(platform: SyncService) -> list[tuple[Integration, Drop | None]]:
    return [
        (entry, complete_drop(entry.provider_data, entry.ref, platform.settings.home))
        for entry in platform.registry.all(enabled=True)
        if entry.provider == "files"
    ]
