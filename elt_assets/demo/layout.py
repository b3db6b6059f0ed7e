"""The size of the embedded provider: its organizations, integrations and users, and their names."""

from __future__ import annotations

import msgspec

from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef

LARGEST_PAGE = 1000
MOST_USERS = 1_000_000_000


class DemoLayout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The number of `integrations`, distributed over `organizations`, each with `users` people.

    `others` are further integrations by partition key, each with its number of users. `page_size`
    is the default page size. `round` is the current round, from 1. `chaos` is the share of page
    requests that fail at first. `latency` is the delay of each answer in milliseconds. `signins`
    is the number of sign-ins of an integration in a day.
    """

    organizations: int = 2
    integrations: int = 4
    users: int = 1_000
    others: dict[str, int] = {}
    seed: int = 1
    page_size: int = 10
    round: int = 1
    chaos: float = 0.0
    latency: float = 0.0
    signins: int = 40

    def __post_init__(self) -> None:
        _within("organizations", self.organizations, 1, 1_000_000)
        _within("integrations", self.integrations, 0, 1_000_000)
        _within("page size", self.page_size, 1, LARGEST_PAGE)
        _within("round", self.round, 1, 10_000)
        _within("users", self.users, 0, MOST_USERS)
        _within("chaos", self.chaos, 0, 1)
        _within("latency", self.latency, 0, 60_000)
        _within("sign-ins", self.signins, 0, 100_000)
        for name, users in self.others.items():
            IntegrationRef.parse(name)
            _within(f"users of {name}", users, 0, MOST_USERS)

    def worlds(self) -> dict[IntegrationRef, int]:
        """Every integration with its number of users in round 1."""
        worlds = {
            IntegrationRef(
                f"demo-{index % self.organizations + 1:03d}",
                f"people-{index // self.organizations + 1:03d}",
            ): self.users
            for index in range(self.integrations)
        }
        return worlds | {IntegrationRef.parse(name): users for name, users in self.others.items()}


def _within(what: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInput(f"{what}: {value} is out of range, use {least} to {most:,}")
