"""Workers: processes on any number of hosts that carry out runs which the daemon hands out.

All knowledge of Celery and its broker is here: `celery_app` is shared by both sides, `run_launcher`
sends a run, `worker_tasks` carries it out. Which run is next is decided by Dagster's queue.
Nothing here is imported unless the settings name a broker.
"""

from __future__ import annotations
