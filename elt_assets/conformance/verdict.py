"""The outcomes of checks, and the list of checks in the order of the table."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class CheckOutcome(StrEnum):
    """How a check ended. Only `failed` fails a verification."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    NOT_CHECKED = "not checked"


class Finding(msgspec.Struct, frozen=True):
    """One check of a stream of one connector."""

    check: str
    verdict: CheckOutcome
    detail: str
    stream: str = "users"


CHECKS = {
    "pages": "every record of every page, once",
    "resume": "reading resumes from every page",
    "credentials": "wrong credentials are an error and not an empty list",
    "permissions": "a permission that hides records or fields deletes and empties nothing",
    "caps": "a listing that the provider cuts off is incomplete",
    "budget": "requests stay within the provider's budget, and wait when it is used up",
    "unstable": "records that move between pages are not deleted",
    "probe": "a probe of a single record answers present, gone or unknown correctly",
    "fields": "fields and states are mapped as documented",
    "secrets": "no secret is stored or shown",
}
"""Every check by its name: what must hold."""


class ConformanceReport(msgspec.Struct, frozen=True):
    """The verification of one connector, `against` an emulator or an address."""

    connector: str
    against: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.verdict is not CheckOutcome.FAILED for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "connector": self.connector,
            "against": self.against,
            "passed": self.passed,
            "checks": [
                {
                    "stream": finding.stream,
                    "check": finding.check,
                    "must_hold": CHECKS[finding.check],
                    "verdict": finding.verdict,
                    "detail": finding.detail,
                }
                for finding in self.findings
            ],
        }
