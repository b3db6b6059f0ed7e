"""The routes that control the embedded provider and read its state, for tests and the demo."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elt_assets.demo.edits import Edits
from elt_assets.demo.groups import groups_truth
from elt_assets.demo.serving.answers import body_as, in_thread, json_answer, ref_of
from elt_assets.demo.signin_listing import Outage, SigninListing
from elt_assets.demo.world import Directory


class ControlRoutes:
    """Routes that change and report a directory and its request log."""

    def __init__(self, directory: Directory, signins: SigninListing) -> None:
        self._directory = directory
        self._signins = signins

    def routes(self) -> list[Route]:
        one = "{organization}/{integration}"
        return [
            Route("/control/worlds", in_thread(self._worlds)),
            Route(f"/control/groups/{one}", in_thread(self._groups)),
            Route(f"/control/state/{one}", in_thread(self._state)),
            Route("/control/advance", in_thread(self._advance), methods=["POST"]),
            Route(f"/control/edit/{one}", self._edit, methods=["POST"]),
            Route("/control/requests", in_thread(self._requests)),
            Route("/control/requests", in_thread(self._forget_requests), methods=["DELETE"]),
            Route(f"/control/signins/{one}", self._outage, methods=["POST"]),
        ]

    def _groups(self, request: Request) -> object:
        return groups_truth(self._directory.snapshot(ref_of(request)))

    def _advance(self, _: Request) -> object:
        return {"round": self._directory.advance()}

    def _worlds(self, _: Request) -> object:
        directory = self._directory
        return {
            "round": directory.round,
            "page_size": directory.layout.page_size,
            "worlds": [
                {
                    "organization": ref.organization_id,
                    "integration": ref.integration_id,
                    "users": len(directory.snapshot(ref)),
                }
                for ref in directory.refs()
            ],
        }

    def _state(self, request: Request) -> object:
        snapshot = self._directory.snapshot(ref_of(request))
        return {
            "organization": snapshot.people.ref.organization_id,
            "integration": snapshot.people.ref.integration_id,
            "round": snapshot.people.round,
            "total": len(snapshot),
            "users": snapshot.truth(),
        }

    def _requests(self, request: Request) -> object:
        query, log = request.query_params, self._directory.log
        found = log.read(query.get("org"), query.get("integration"))
        return {"requests": found, "dropped": log.dropped}

    def _forget_requests(self, _: Request) -> object:
        self._directory.log.clear()
        return {}

    async def _edit(self, request: Request) -> Response:
        edits = await body_as(request, Edits, "edit")
        snapshot = await run_in_threadpool(self._directory.edit, ref_of(request), edits)
        return json_answer({"round": snapshot.people.round, "total": len(snapshot)})

    async def _outage(self, request: Request) -> Response:
        ref = ref_of(request)
        self._directory.snapshot(ref)
        return json_answer(self._signins.order(ref, await body_as(request, Outage, "outage")))
