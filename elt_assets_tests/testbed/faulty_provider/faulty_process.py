"""The process of a provider with ordered faults, seen from a test."""

from __future__ import annotations

import msgspec

from elt_assets.demo.process import ProviderProcess
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.testbed.faulty_provider.fault import Plan, Suffered


class FaultyProvider(ProviderProcess):
    """The embedded provider, which also takes plans of faults."""

    program = "elt_assets_tests.testbed.faulty_provider"

    def order_chaos(self, ref: IntegrationRef, plan: Plan) -> None:
        """Apply `plan` to the next answers to `ref`. Raises `NotFound` or `InvalidInput`."""
        self.control("POST", _chaos(ref), plan)

    def lift_chaos(self, ref: IntegrationRef) -> Suffered:
        """End the plan of `ref`; return what it did."""
        return msgspec.convert(self.control("DELETE", _chaos(ref)), Suffered)


def _chaos(ref: IntegrationRef) -> str:
    return f"/control/chaos/{ref.organization_id}/{ref.integration_id}"
