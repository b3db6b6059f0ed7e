"""Workers: processes on any number of hosts that carry out runs from Dagster's queue.

`run_launcher` sends a run through Celery, `worker_tasks` carries it out. Nothing here is imported
unless the settings name a broker.
"""

from __future__ import annotations
