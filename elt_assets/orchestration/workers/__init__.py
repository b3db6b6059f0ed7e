"""Workers: processes on any number of hosts that carry out runs which the daemon hands out.

Belongs here: everything that knows of Celery and its broker: the application both sides share,
sending a run (launcher), carrying one out (tasks), asking who is there (fleet). Does not: which
runs there are and in which order they go, which is Dagster's queue, or what a run does.

Nothing here is imported unless settings name a broker.
"""

from __future__ import annotations
