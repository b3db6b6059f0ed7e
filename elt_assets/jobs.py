"""Jobs: what can be launched by name.

Belongs here: job definitions. Does not: when they run (schedules, sensors) or running one
inside a command (runs).
"""

from __future__ import annotations

import dagster as dg

from elt_assets.assets.tables import asset_key
from elt_assets.sync.outcome import Stage
from elt_assets.sync.stream import STREAMS

# A step in a process of its own costs seconds and gives nothing here: the run works on
# several integrations at a time by itself.
sync_job = dg.define_asset_job(
    "sync",
    # A selection of assets brings their checks along; planned with every run and skipped, they
    # would hide what the last real check found.
    selection=dg.AssetSelection.assets(
        *(asset_key(stream, stage) for stream in STREAMS.values() for stage in Stage)
    ).without_checks(),
    executor_def=dg.in_process_executor,
    description="Bring every integration of the run's partition, or range of partitions, up to "
    "date in all streams. A repeated run continues the same sync.",
)
