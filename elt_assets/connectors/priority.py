"""The priority of an integration, a field of every kind of provider_data.

Its effect is decided in `sync.workload`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Priority = Annotated[
    int,
    Field(
        ge=-100,
        le=100,
        description="Integrations with a higher priority are synced first where not all can be "
        "synced at once.",
    ),
]
