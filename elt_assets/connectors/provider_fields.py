"""Fields that every kind of provider_data has, and the model that its parts are."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from elt_assets.config.safeguards import SafeguardOverrides
from elt_assets.config.secret_refs import SecretRef


class Strict(BaseModel):
    """A part of provider_data, in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _reference(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("give a secret as {env: NAME} or {file: PATH}, never the secret itself")
    return value


def _whole_path(value: str) -> str:
    if not value.startswith("/") or "\x00" in value:
        raise ValueError("write the whole path, starting with '/'")
    return value


Secret = Annotated[SecretRef, BeforeValidator(_reference)]
WholePath = Annotated[str, AfterValidator(_whole_path)]
SourceName = Annotated[
    str | None, Field(max_length=256, description="What people call this source.")
]
OwnSafeguards = Annotated[
    SafeguardOverrides | None,
    Field(description="Limits on deletes and rejects, where they differ from the platform's."),
]
Priority = Annotated[
    int,
    Field(
        ge=-100,
        le=100,
        description="Integrations with a higher priority are synced first where not all can be "
        "synced at once.",
    ),
]
"""Its effect is decided in `sync.workload`."""
