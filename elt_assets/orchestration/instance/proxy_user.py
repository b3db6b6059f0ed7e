"""Tag each run with the user that an authenticating proxy names in front of the web server.

The header counts only where ELT_ASSETS_PROXY_USER_HEADER names it: a client that reaches the web
server without the proxy can send any header. The tag counts only where this run coordinator
submitted the run, because a client may send tags, too.
"""

from __future__ import annotations

import dagster as dg

from elt_assets.config.settings import load_settings
from elt_assets.errors.foreign_text import visible

PROXY_USER_TAG = "elt_assets/proxy_user"
_LONGEST_USER = 200


class ProxyUserRunCoordinator(dg.QueuedRunCoordinator):
    """Dagster's queue; it records who submitted a run."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Set the tag from the request, or empty it, and put the run into the queue."""
        header = load_settings().proxy_user_header
        named = (context.get_request_header(header) or "") if header else ""
        user = visible(" ".join(named.split()), _LONGEST_USER)
        if user or PROXY_USER_TAG in context.dagster_run.tags:
            self._instance.add_run_tags(context.dagster_run.run_id, {PROXY_USER_TAG: user})
        return super().submit_run(context)


def proxy_user(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """The user that the proxy named when `run` was submitted, if there was one."""
    if not isinstance(instance.run_coordinator, ProxyUserRunCoordinator):
        return None
    return run.tags.get(PROXY_USER_TAG) or None
