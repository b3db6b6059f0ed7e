"""The conformance checks as tests: `pytest -p elt_assets.conformance.pytest_plugin --connector …`.

Each check is a test of its own. A check that does not apply, or that needs a server that misbehaves
on demand, is skipped with its reason.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from elt_assets.conformance.verdict import ConformanceReport

_REPORT = pytest.StashKey["ConformanceReport"]()


class ConnectorFailed(Exception):
    """A check failed; the message is its detail."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that name the connector and its server."""
    group = parser.getgroup("connectors", "conformance of connectors")
    group.addoption(
        "--connector", metavar="PROVIDER|FILE", help="Preset, or file with provider_data."
    )
    group.addoption("--connector-against", metavar="URL", help="Server to verify against.")
    group.addoption(
        "--connector-provider", default="rest", help="Kind of provider of the file; rest if unset."
    )


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add one test for each check."""
    if config.getoption("--connector") is None:
        return
    from elt_assets.conformance.verdict import CHECKS

    items += [ConnectorCheck.from_parent(session, name=name, nodeid=name) for name in CHECKS]


class ConnectorCheck(pytest.Item):
    """One check of the connector."""

    def runtest(self) -> None:
        """Verify the connector once for all checks, and report the result of this check."""
        from elt_assets.conformance.verdict import CheckOutcome

        found = [one for one in self._report().findings if one.check == self.name]

        def said(*verdicts: CheckOutcome) -> str:
            those = [one for one in found if one.verdict in verdicts]
            return "; ".join(f"{one.stream}: {one.detail}" for one in those)

        if failed := said(CheckOutcome.FAILED):
            raise ConnectorFailed(failed)
        if warned := said(CheckOutcome.WARNED):
            warnings.warn(f"{self.name}: {warned}", stacklevel=1)
        elif not said(CheckOutcome.PASSED):
            pytest.skip(said(CheckOutcome.NOT_APPLICABLE, CheckOutcome.NOT_CHECKED))

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: object = None,
    ) -> str:
        """Return only the detail: a traceback of the test kit says nothing about the connector."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[str, int | None, str]:
        """Return the connector as the location, because a check has no file."""
        return str(self.config.getoption("--connector")), None, f"connector: {self.name}"

    def _report(self) -> ConformanceReport:
        from elt_assets.conformance.verify import verify

        if _REPORT not in self.config.stash:
            self.config.stash[_REPORT] = verify(
                self.config.getoption("--connector"),
                provider=self.config.getoption("--connector-provider"),
                against=self.config.getoption("--connector-against"),
            )
        return self.config.stash[_REPORT]
