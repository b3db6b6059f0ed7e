"""Names that come from outside: organizations, integrations, sync ids, partition keys.

The stores turn names into SQL and paths only from an `IntegrationRef`, which cannot exist with an
invalid name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from elt_assets.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", re.ASCII)
_RULE = "letters, digits, '.', '_' and '-', at most 64, not starting with '.'"


def checked_name(value: str, what: str) -> str:
    """Return `value` if it is a valid name, else raise `InvalidInput`; `what` names it there.

    One rule holds for every kind of name. Dagster reserves `...` and control characters in
    partition keys, and shells, paths and ranges give other characters a meaning. A name with `..`
    is refused, too, because `...` separates the ends of a partition range.
    """
    if not _NAME.fullmatch(value) or ".." in value:
        raise InvalidInput(
            f"{what} {value!r} is not a valid name: use {_RULE} and no two dots in a row"
        )
    return value


@dataclass(frozen=True, slots=True, order=True)
class IntegrationRef:
    """One connected integration of one organization: the unit of tenancy and of failure."""

    organization_id: str
    integration_id: str

    def __post_init__(self) -> None:
        checked_name(self.organization_id, "organization")
        checked_name(self.integration_id, "integration")

    @property
    def values(self) -> tuple[str, str]:
        """The values of the two columns that identify the integration in a table."""
        return self.organization_id, self.integration_id

    @property
    def partition_key(self) -> str:
        """`{organization_id}:{integration_id}`, as Dagster and the command line spell it."""
        return f"{self.organization_id}:{self.integration_id}"

    def __str__(self) -> str:
        return self.partition_key

    def before(self, message: str) -> str:
        """`message` with the integration's name in front of it, unless it is there already."""
        prefix = f"{self}: "
        return message if message.startswith(prefix) else prefix + message

    @classmethod
    def parse(cls, partition_key: str) -> IntegrationRef:
        """Read `ORG:ID`. Raises `InvalidInput` for anything else."""
        organization_id, separator, integration_id = partition_key.partition(":")
        if not separator:
            raise InvalidInput(
                f"{partition_key!r} is not an integration: write ORG:ID, "
                "for example org-001:okta-main"
            )
        return cls(organization_id, integration_id)
