"""Safeguards: limits on what a sync may change or reject before a person must decide.

An integration may override them. `sync.detect.delete_guard` judges a sync by them.
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
    max_removal_share: float = Field(
        0.50, ge=0, le=1, description="Largest share of the group memberships one sync may remove."
    )
    max_removal_count: int = Field(
        5_000, ge=0, description="Largest number of group memberships one sync may remove."
    )
    max_deactivate_share: float = Field(
        0.20, ge=0, le=1, description="Largest share of the latest rows one sync may deactivate."
    )
    max_deactivate_count: int = Field(
        500, ge=0, description="Largest number of rows one sync may deactivate."
    )
    max_loss_share: float = Field(
        0.20,
        ge=0,
        le=1,
        description="Largest share of the latest rows that one sync may leave without a value "
        "that they have, such as the e-mail address.",
    )
    max_loss_count: int = Field(
        500, ge=0, description="Largest number of rows that may lose such a value in one sync."
    )
    max_identity_share: float = Field(
        0.50,
        gt=0,
        le=1,
        description="Share of old keys gone and of listed keys new from which on the keys "
        "themselves count as changed; then neither deletes nor inserts are applied.",
    )
    guarded_attributes: tuple[str, ...] = Field(
        (),
        description="Attributes whose loss counts like that of the e-mail address and the name.",
    )
    max_reject_share: float = Field(
        0.05, ge=0, le=1, description="Largest share of unusable records before a sync fails."
    )
    delete_confirmation: Confirmation | None = Field(
        None,
        description="The second witness of a delete: 'probe' asks the provider for the single "
        "record, 'grace' waits for a second complete extraction without it, 'none' trusts the "
        "first, which only a snapshot may say. Unset: 'none' for a snapshot, else 'probe' where "
        "the provider answers for one record and 'grace' where it does not.",
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
    max_removal_share: float | None = Field(
        None, ge=0, le=1, description=_described("max_removal_share")
    )
    max_removal_count: int | None = Field(None, ge=0, description=_described("max_removal_count"))
    max_deactivate_share: float | None = Field(
        None, ge=0, le=1, description=_described("max_deactivate_share")
    )
    max_deactivate_count: int | None = Field(
        None, ge=0, description=_described("max_deactivate_count")
    )
    max_loss_share: float | None = Field(None, ge=0, le=1, description=_described("max_loss_share"))
    max_loss_count: int | None = Field(None, ge=0, description=_described("max_loss_count"))
    max_identity_share: float | None = Field(
        None, gt=0, le=1, description=_described("max_identity_share")
    )
    guarded_attributes: tuple[str, ...] | None = Field(
        None, description=_described("guarded_attributes")
    )
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
