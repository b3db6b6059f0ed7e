"""Choose the source that reads a stream of a REST integration."""

from __future__ import annotations

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.rest.jobs.job_source import JobSource
from elt_assets.connectors.rest.nested_lists import NestedSource
from elt_assets.connectors.rest.provider_data import RestData
from elt_assets.connectors.rest.refining.refined_source import RefinedSource
from elt_assets.connectors.rest.rest_source import RestSource
from elt_assets.connectors.source import Source
from elt_assets.identifiers import IntegrationRef


def open_rest(
    config: RestData,
    stream: str,
    *,
    ref: IntegrationRef | None = None,
    secrets: Secrets,
    limits: FetchLimits,
) -> Source:
    """Open a stream: a listing, lists under parents, a refined listing, or the result of a job."""
    described = config.streams[stream]
    if described.parent is not None:
        return NestedSource(
            config, stream, described.parent, ref=ref, secrets=secrets, limits=limits
        )
    kind: type[RestSource] = RestSource
    if described.job is not None:
        kind = JobSource
    elif described.details is not None or described.only_members_of is not None:
        kind = RefinedSource
    return kind(config, stream, ref=ref, secrets=secrets, limits=limits)
