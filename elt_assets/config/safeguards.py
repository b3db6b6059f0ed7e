"""Safeguards: limits on what a sync may change or reject before a person must decide.

An integration may override them. `sync.detect.delete_guard` applies them to a sync.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

Confirmation = Literal["probe", "grace", "none"]
DeleteMode = Literal["hard", "soft"]


class Limits(BaseModel):
    """The limits of an installation, which are settings of the same names."""

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
        description="If at least this share of the old keys is missing and of the listed keys is "
        "new, the keys themselves count as changed, and neither deletes nor inserts are applied.",
    )
    max_reject_share: float = Field(
        0.05, ge=0, le=1, description="Largest share of unusable records before a sync fails."
    )
    delete_mode: DeleteMode = Field(
        "hard", description="'soft' keeps deleted rows and sets their deleted_at."
    )
    stale_hours: float = Field(
        26.0,
        gt=0,
        description="Hours after which an integration counts as not up to date.",
    )


class Safeguards(Limits):
    """The limits that apply to one sync."""

    guarded_attributes: tuple[str, ...] = Field(
        (),
        description="Attributes whose loss counts like that of the e-mail address and the name.",
    )
    delete_confirmation: Confirmation | None = Field(
        None,
        description="How a delete is confirmed: 'probe' queries the provider for the single "
        "record, 'grace' waits for a second complete extraction without it, 'none' trusts the "
        "first extraction and is allowed for a snapshot only. Unset: 'none' for a snapshot, else "
        "'probe' where the provider answers for one record and 'grace' where it does not.",
    )


class SafeguardOverrides(
    create_model(  # type: ignore[misc]
        "_Overrides",
        __config__=ConfigDict(extra="forbid", frozen=True),
        **{
            name: (
                Annotated[(field.annotation, Field(), *field.metadata)] | None,
                Field(None, description=field.description),
            )
            for name, field in Safeguards.model_fields.items()
        },
    )
):
    """The safeguards that one integration overrides; the rest are those of the installation."""

    def over(self, installation: Safeguards) -> Safeguards:
        """The installation's safeguards, overridden by those of this integration."""
        own: dict[str, object] = self.model_dump(exclude_none=True)
        return installation.model_copy(update=own)
