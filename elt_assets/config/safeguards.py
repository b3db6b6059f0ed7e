"""Safeguards: how much a sync may delete or reject before a person is asked.

Belongs here: the limits, their defaults and what an integration may override. Does not:
judging a sync by them (sync.detect.delete_guard).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Confirmation = Literal["probe", "grace", "none"]
DeleteMode = Literal["hard", "soft"]


class Safeguards(BaseModel):
    """The limits that hold for one sync."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_delete_share: float = Field(
        0.20, ge=0, le=1, description="Largest share of the latest rows one sync may delete."
    )
    max_delete_count: int = Field(
        500, ge=0, description="Largest number of rows one sync may delete."
    )
    max_reject_share: float = Field(
        0.05, ge=0, le=1, description="Largest share of unusable records before a sync fails."
    )
    delete_confirmation: Confirmation | None = Field(
        None,
        description="How a missing record is confirmed before its row is deleted: 'probe' asks "
        "the provider for the single record, 'grace' waits for a second complete extraction "
        "without it, 'none' trusts the first. Unset: 'none' where pages cannot shift while they "
        "are read, 'probe' or 'grace' where they can, where an extraction was interrupted, or "
        "where a provider that declares a total lists records twice.",
    )
    delete_mode: DeleteMode = Field(
        "hard", description="'soft' keeps deleted rows and sets their deleted_at."
    )
    stale_hours: float = Field(
        26.0,
        gt=0,
        description="Hours after which an integration counts as not up to date.",
    )


def _described(name: str) -> str | None:
    return Safeguards.model_fields[name].description


class SafeguardOverrides(BaseModel):
    """What one integration sets for itself; the rest comes from the installation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_delete_share: float | None = Field(
        None, ge=0, le=1, description=_described("max_delete_share")
    )
    max_delete_count: int | None = Field(None, ge=0, description=_described("max_delete_count"))
    max_reject_share: float | None = Field(
        None, ge=0, le=1, description=_described("max_reject_share")
    )
    delete_confirmation: Confirmation | None = Field(
        None, description=_described("delete_confirmation")
    )
    delete_mode: DeleteMode | None = Field(None, description=_described("delete_mode"))
    stale_hours: float | None = Field(None, gt=0, description=_described("stale_hours"))

    def over(self, installation: Safeguards) -> Safeguards:
        """The installation's safeguards with this integration's own in their place."""
        return installation.model_copy(update=self.model_dump(exclude_none=True))
