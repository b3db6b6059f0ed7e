"""The guard before a load: whether most of a source's records are usable.

If a provider renames a field, all its records become dead letters, and loading such a day again
would empty it.
"""

from __future__ import annotations

import dagster as dg

from elt_assets.orchestration.assets.signin.signin_specs import (
    NORMALIZED_API_EVENTS,
    NORMALIZED_CSV_EVENTS,
    EventAsset,
)
from elt_assets.orchestration.placement import Placement
from elt_assets.signin_events.results import CheckResult, Normalized

NAME = "mostly_usable"
MOST_REJECTED = 0.5
"""Share of a day's records of one source that may be dead letters."""
FEWEST = 20
"""The fewest dead letters that stop a day's load: a single foreign file must not stop it."""


def guards(at: Placement) -> list[dg.AssetCheckKey]:
    """The checks that the job of sign-in events evaluates."""
    return [
        dg.AssetCheckKey(at.key(asset.name), NAME)
        for asset in (NORMALIZED_API_EVENTS, NORMALIZED_CSV_EVENTS)
    ]


def guard_spec(asset: EventAsset, at: Placement) -> dg.AssetCheckSpec:
    """The Dagster check; the dependent assets are skipped if it fails."""
    return dg.AssetCheckSpec(
        NAME,
        asset=at.key(asset.name),
        blocking=True,
        description=f"At most {MOST_REJECTED:.0%} of the day's records are dead letters; otherwise "
        "nothing is loaded.",
    )


def guarded(found: Normalized) -> CheckResult:
    """Whether the records may be loaded, and why not."""
    share = found.rejected / found.read if found.read else 0.0
    if share <= MOST_REJECTED or found.rejected < FEWEST:
        return CheckResult(
            NAME, passed=True, message=f"{share:.0%} of {found.read:,} are dead letters"
        )
    return CheckResult(
        NAME,
        passed=False,
        message=f"{found.rejected:,} of {found.read:,} records are dead letters: see "
        f"`elt-assets events rejected list --day {found.day}`, correct the mapping or the file, "
        "and run the day again",
        count=found.rejected,
    )
