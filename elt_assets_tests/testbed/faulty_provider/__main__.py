"""The process of a provider with ordered faults."""

from __future__ import annotations

import sys

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from elt_assets.demo.__main__ import main
from elt_assets.demo.serving.answers import body_as, json_answer, ref_of
from elt_assets.demo.serving.door import Door
from elt_assets.demo.serving.provider_server import routed
from elt_assets.demo.world import Directory
from elt_assets_tests.testbed.faulty_provider.chaos import Afflictions, Chaos
from elt_assets_tests.testbed.faulty_provider.fault import Plan


def faulty_app(directory: Directory, token: str) -> ASGIApp:
    """The embedded provider's application, and a route that orders and lifts plans of faults."""
    afflictions = Afflictions()

    async def chaos(request: Request) -> Response:
        ref = ref_of(request)
        directory.snapshot(ref)
        if request.method == "DELETE":
            return json_answer(afflictions.lift(ref))
        return json_answer(afflictions.order(ref, await body_as(request, Plan, "plan")))

    path = "/control/chaos/{organization}/{integration}"
    app = routed(directory, Route(path, chaos, methods=["POST", "DELETE"]))
    latency = directory.layout.latency / 1000
    return Door(Chaos(app, directory, afflictions), directory, token, latency)


if __name__ == "__main__":
    sys.exit(main(faulty_app))
