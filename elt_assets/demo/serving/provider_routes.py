"""The routes of the embedded provider that a sync reads: users, groups, members and sign-ins."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from elt_assets.demo.groups import groups_page, members_page, one_group
from elt_assets.demo.page_query import PageQuery
from elt_assets.demo.serving.answers import error_answer, in_thread, json_answer, ref_of
from elt_assets.demo.signin_listing import SigninListing
from elt_assets.demo.world import Directory, Snapshot
from elt_assets.errors import NotFound


class ProviderRoutes:
    """The routes of one directory; each answers from its current state."""

    def __init__(self, directory: Directory, signins: SigninListing) -> None:
        layout = directory.layout
        self._directory = directory
        self._signins = signins
        self._page_size = layout.page_size
        self._users = PageQuery(seed=layout.seed, page_size=layout.page_size)

    def routes(self) -> list[Route]:
        """The routes below /v1."""
        one = "/v1/{organization}/{integration}"
        return [
            Route(f"{one}/users", self._list_users),
            Route(f"{one}/users/{{user}}", in_thread(self._find_user)),
            Route(f"{one}/groups", in_thread(self._list_groups)),
            Route(f"{one}/groups/{{group}}", in_thread(self._find_group)),
            Route(f"{one}/groups/{{group}}/members", in_thread(self._list_members)),
            Route(f"{one}/signins", self._list_signins),
        ]

    def _now(self, request: Request) -> Snapshot:
        return self._directory.snapshot(ref_of(request))

    async def _list_users(self, request: Request) -> Response:
        page = self._users.page(self._now(request), request.query_params)
        return Response(page, media_type="application/json")

    def _find_user(self, request: Request) -> object:
        user_id = request.path_params["user"]
        found = self._now(request).one(user_id)
        if found is None:
            raise NotFound(f"user {user_id} does not exist")
        return found

    def _list_groups(self, request: Request) -> object:
        return groups_page(self._now(request), request.query_params, self._page_size)

    def _find_group(self, request: Request) -> object:
        return one_group(self._now(request), request.path_params["group"])

    def _list_members(self, request: Request) -> object:
        group = request.path_params["group"]
        return members_page(self._now(request), group, request.query_params, self._page_size)

    def _list_signins(self, request: Request) -> Response:
        ref, query = ref_of(request), request.query_params
        status = self._signins.failure(ref, query)
        if status is not None:
            return error_answer(request, status, "out_of_order", "the sign-ins of this day failed")
        return json_answer(self._signins.page(ref, query))
