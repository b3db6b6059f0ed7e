"""Figures: count and print what a campaign did and found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from elt_assets_tests.campaign.oracles import Violation


@dataclass
class Figures:
    """Counts of one campaign. `fired` counts accidents by name, `seen` what was looked at.

    `missing` names accidents that should have happened and did not.
    """

    name: str
    fired: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, Violation]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def judge(self, scenario: str, violations: Iterable[Violation]) -> None:
        """Keep what the oracles found in a scenario."""
        self.violations += [(scenario, violation) for violation in violations]

    def add(self, part: Figures) -> None:
        """Add what a part of the campaign did and found."""
        self.fired += part.fired
        self.seen += part.seen
        self.violations += part.violations

    def never_fired(self, required: Iterable[str]) -> list[str]:
        """The accidents that should have happened and did not."""
        return sorted(set(required) - {name for name, number in self.fired.items() if number})

    def lines(self) -> list[str]:
        """The figures as text."""
        found = Counter(violation.oracle for _, violation in self.violations)
        named = ("harmed", "false delete", "lost", "duplicated")
        return [
            f"{self.name}",
            *(f"  {number:>7,}  {name}" for name, number in sorted(self.seen.items())),
            *(f"  {number:>7,}  {name}" for name, number in sorted(self.fired.items())),
            *(f"  {found.pop(name, 0):>7,}  {name}" for name in named),
            f"  {sum(found.values()):>7,}  other violations",
            *(f"    never happened: {name}" for name in self.missing),
            *(
                f"    {scenario}: {violation.partition}: {violation.oracle}: {violation.detail}"
                for scenario, violation in self.violations[:20]
            ),
        ]
