"""How providers write lists, their ends and their totals, synced over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.serving import Answer, Asked, Provider, Reply, as_json

Data = dict[str, Any]

REF = IntegrationRef("acme", "main")
SIZE, PAGES = 20, 3
PAGINATIONS: dict[str, Data] = {
    "page": {"type": "page"},
    "offset": {"type": "offset", "size": SIZE},
    "cursor": {"type": "cursor", "cursor": "next", "param": "page"},
    "cursor in a header": {"type": "cursor", "header": "X-Next", "param": "page"},
    "next_url": {"type": "next_url", "url": "next"},
    "link_header": {"type": "link_header"},
}
NUMBERED = ("page", "offset")


def person(number: int) -> Data:
    return {"id": number, "name": f"Person {number}"}


def paged(
    kind: str, people: list[Data], behind: Callable[[Asked], Reply], pages: int = PAGES
) -> Answer:
    """Pages of `people` by that pagination; `behind` answers for the page after the last."""

    def answer(asked: Asked) -> Reply:
        if kind == "offset":
            number = int(asked.query["offset"]) // SIZE + 1
        else:
            number = int(asked.query.get("page", "1"))
        if number > pages:
            return behind(asked)
        found: Data = {"items": people[(number - 1) * SIZE : number * SIZE]}
        headers = {}
        match kind:
            case "cursor":
                found["next"] = number + 1
            case "cursor in a header":
                headers["X-Next"] = str(number + 1)
            case "next_url":
                found["next"] = f"/users?page={number + 1}"
            case "link_header":
                headers["Link"] = f'</users?page={number + 1}>; rel="next"'
        return Reply(json.dumps(found).encode(), 200, headers)

    return answer


class Directory:
    """An integration that reads the provider."""

    def __init__(self, platform: SyncService, provider: Provider) -> None:
        self.platform = platform
        self.provider = provider
        self._syncs = 0

    def connect(self, pagination: Data, **stream: Any) -> None:
        users = {
            "path": "/users",
            "records": "items",
            "pagination": pagination,
            "fields": {"external_id": "id", "name": "name"},
            **stream,
        }
        data = {"api_endpoint": self.provider.url, "streams": {"users": users}}
        self.platform.registry.add(REF, "rest", data)

    def sync(self) -> Outcome:
        self._syncs += 1
        (outcome,) = self.platform.sync(USERS, [REF], sync_id=f"s{self._syncs}")
        return outcome

    def users(self) -> list[int]:
        return sorted(int(row["external_id"]) for row in self.platform.records(USERS, REF))


@pytest.fixture
def directory(platform: SyncService, provider: Provider) -> Directory:
    return Directory(platform, provider)


ENDS: dict[str, Callable[[Asked], Reply]] = {
    "null": lambda _: as_json({"items": None, "next": None}),
    "an empty list": lambda _: as_json({"items": [], "next": ""}),
    "204": lambda _: Reply(status=204),
    "404": lambda _: as_json({"error": "no such page"}, 404),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", PAGINATIONS)
def test_what_stands_behind_the_last_page_ends_the_listing(
    directory: Directory, kind: str, end: str
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]
    directory.provider.answer = paged(kind, people, ENDS[end])
    directory.connect(PAGINATIONS[kind])
    outcome = directory.sync()
    assert outcome.status is Status.APPLIED
    assert directory.users() == [one["id"] for one in people]
    # A page to which the provider itself leads must be there.
    reasons = () if end != "404" or kind in NUMBERED else ("page 3 leads to page 4, which has 404",)
    assert outcome.certificate.complete is not reasons
    assert [reason[:37] for reason in outcome.certificate.reasons] == list(reasons)


@pytest.mark.parametrize("end", ["null", "204"])
@pytest.mark.parametrize("kind", ["page", "cursor"])
def test_a_first_page_without_a_list_deletes_nobody(
    directory: Directory, kind: str, end: str
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]
    directory.provider.answer = paged(kind, people, ENDS["an empty list"])
    directory.connect(PAGINATIONS[kind])
    directory.sync()
    directory.provider.answer = ENDS[end]
    for _ in range(3):
        outcome = directory.sync()
        assert outcome.certificate.reasons[0].endswith("follows no page of records")
    assert len(directory.users()) == SIZE * PAGES


@pytest.mark.parametrize("end", ["null", "204"])
def test_a_snapshot_that_ends_without_a_list_needs_a_second_witness(
    directory: Directory, end: str
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]
    directory.provider.answer = paged("cursor", people, ENDS[end])
    directory.connect(PAGINATIONS["cursor"], snapshot=True)
    directory.sync()
    del people[4]
    first, second = directory.sync(), directory.sync()
    assert (first.counts.deletes, first.counts.pending_deletes) == (0, 1)
    assert (second.counts.deletes, second.counts.pending_deletes) == (1, 0)


@pytest.mark.parametrize("total", [0, "0", 0.0, "0.0"], ids=repr)
@pytest.mark.parametrize("kind", ["page", "offset", "cursor"])
def test_null_next_to_a_total_of_none_is_an_empty_directory(
    directory: Directory, kind: str, total: Any
) -> None:
    directory.provider.answer = lambda _: as_json({"items": None, "total": total})
    directory.connect(PAGINATIONS[kind], total="total")
    assert directory.sync().certificate.complete


@pytest.mark.parametrize(
    ("total", "is_known"),
    [
        *(("60", True), ("60.0", True), (60.0, True), (" 60 ", True), ("061", True)),
        *((-1, False), ("-1", False), (None, False), ("", False)),
        *(("users 0-19/60", True), ("users 0-19/*", False), ("items */60", True)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", ["total", {"header": "X-Total-Count"}], ids=["body", "header"])
def test_a_total_may_be_written_in_many_ways(
    directory: Directory, total: Any, is_known: bool, place: Any
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]
    pages = paged("page", people, ENDS["an empty list"])

    def answer(asked: Asked) -> Reply:
        reply = pages(asked)
        if isinstance(place, dict):
            headers = {} if total is None else {"X-Total-Count": str(total)}
            return Reply(reply.body, headers=headers)
        return as_json(json.loads(reply.body) | {"total": total})

    directory.provider.answer = answer
    directory.connect(PAGINATIONS["page"], total=place)
    certificate = directory.sync().certificate
    said = "61" if total == "061" else "60"
    assert certificate.declared_total == (int(said) if is_known else None)
    assert certificate.complete == (total != "061")


def test_an_object_in_the_place_of_the_list_is_a_list_of_one(directory: Directory) -> None:
    people = [person(number) for number in range(1, SIZE + 2)]
    pages = paged("page", people, ENDS["null"], pages=2)

    def answer(asked: Asked) -> Reply:
        found = json.loads(pages(asked).body)
        if found["items"] and len(found["items"]) == 1:
            found["items"] = found["items"][0]
        return as_json(found)

    directory.provider.answer = answer
    directory.connect(PAGINATIONS["page"])
    assert directory.sync().certificate.complete
    assert len(directory.users()) == SIZE + 1


def test_a_body_that_is_one_record_is_a_list_of_one(directory: Directory) -> None:
    directory.provider.answer = lambda _: as_json(person(7))
    directory.connect({"type": "none"}, records="")
    assert directory.sync().certificate.complete
    assert directory.users() == [7]


@pytest.mark.parametrize("last", [0, 0.0, "0", "", " ", "-1", -1, None, False, "END"], ids=repr)
@pytest.mark.parametrize("kind", ["cursor", "next_url"])
def test_a_place_that_leads_nowhere_ends_a_listing(
    directory: Directory, kind: str, last: Any
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]
    pages = paged(kind, people, ENDS["404"])

    def answer(asked: Asked) -> Reply:
        found = json.loads(pages(asked).body)
        return as_json(found | ({"next": last} if asked.query.get("page") == "3" else {}))

    directory.provider.answer = answer
    if last == "END":
        if kind == "next_url":
            return
        directory.connect(PAGINATIONS[kind] | {"stop": ["END"]})
    else:
        directory.connect(PAGINATIONS[kind])
    assert directory.sync().certificate.complete
    assert len(directory.users()) == SIZE * PAGES


@pytest.mark.parametrize("no", [False, "false", " False", 0, "0", "no", "N", "off"], ids=repr)
@pytest.mark.parametrize("name", ["has_more", "hasNextPage", "paging.another"])
def test_a_page_that_says_that_no_more_follow_is_the_last(
    directory: Directory, name: str, no: Any
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]
    pages = paged("cursor", people, ENDS["404"])
    outer, _, inner = name.partition(".")

    def answer(asked: Asked) -> Reply:
        said = no if asked.query.get("page") == "3" else True
        return as_json(json.loads(pages(asked).body) | {outer: {inner: said} if inner else said})

    directory.provider.answer = answer
    directory.connect(PAGINATIONS["cursor"], **({"more": name} if inner else {}))
    assert directory.sync().certificate.complete
    assert len(directory.users()) == SIZE * PAGES


@pytest.mark.parametrize("written", [int, str], ids=["as it came", "as text"])
def test_a_last_page_that_repeats_its_own_cursor_ends_a_listing(
    directory: Directory, written: Callable[[Any], Any]
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]
    pages = paged("cursor", people, ENDS["404"])

    def answer(asked: Asked) -> Reply:
        found = json.loads(pages(asked).body)
        return as_json(found | ({"next": written(3)} if asked.query.get("page") == "3" else {}))

    directory.provider.answer = answer
    directory.connect(PAGINATIONS["cursor"])
    outcome = directory.sync()
    assert (outcome.certificate.complete, outcome.counts.duplicates) == (True, 0)
    assert len(directory.users()) == SIZE * PAGES


@pytest.mark.parametrize("said", [{"total": 60}, {"has_more": False}], ids=repr)
def test_numbers_beyond_the_last_page_may_lead_to_it_again(
    directory: Directory, said: Data
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]

    def answer(asked: Asked) -> Reply:
        number = min(int(asked.query["page"]), PAGES)
        found = people[(number - 1) * SIZE : number * SIZE]
        return as_json({"items": found} | (said if number == PAGES or "total" in said else {}))

    directory.provider.answer = answer
    directory.connect(PAGINATIONS["page"], **({"total": "total"} if "total" in said else {}))
    outcome = directory.sync()
    assert (outcome.certificate.complete, outcome.counts.duplicates) == (True, 0)
    assert len(directory.users()) == SIZE * PAGES


@pytest.mark.parametrize(
    ("condition", "page"),
    [
        ('kind == "list"', {"kind": "list"}),
        ("meta.page.count == 0", {"meta": {"page": {"count": 0}}}),
        ("meta.page.count == 0", {"meta": {"page": {"count": 0.0}}}),
        ("meta.empty == true", {"meta": {"empty": True}}),
        ("result.users == null", {"result": None}),
    ],
)
def test_a_page_may_say_anywhere_that_it_is_empty(
    directory: Directory, condition: str, page: Data
) -> None:
    directory.provider.answer = lambda _: as_json(page)
    directory.connect({"type": "none"}, records="result.users", empty_if=condition)
    assert directory.sync().certificate.complete
    directory.provider.answer = lambda _: as_json({"message": "try later"})
    outcome = directory.sync()
    assert "has no list at 'result.users'" in str(outcome.error)


LINKS = {
    "relative": '<?page={n}>; rel="next"',
    "protocol-relative": '<//{host}/users?page={n}>; rel="next"',
    "single quotes": "</users?page={n}>; rel='next'",
    "no quotes": "</users?page={n}>; rel=next",
    "a semicolon behind it": '</users?page={n}>; rel="next";',
    "an empty parameter": '</users?page={n}>; ; rel="next"',
    "spaces": '< /users?q=a b&page={n} >; rel = "next"',
    "commas": '</users?ids=1,2&page=1>; rel="prev", </users?ids=1,2&page={n}>; rel="next"',
    "several relations": '</users?page={n}>; REL="last Next"',
    "a quoted link": '</users?page=1>; title="a\\", <b>; rel=next"; rel="prev",'
    '</users?page={n}>; rel="next"',
}


@pytest.mark.parametrize("form", LINKS)
def test_a_next_link_may_be_written_in_many_ways(directory: Directory, form: str) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]

    def answer(asked: Asked) -> Reply:
        number = int(asked.query.get("page", "1"))
        link = LINKS[form].replace("{n}", str(number + 1)).replace("{host}", asked.headers["host"])
        found = people[(number - 1) * SIZE : number * SIZE]
        return as_json({"items": found}, **({"link": link} if number < PAGES else {}))

    directory.provider.answer = answer
    directory.connect(PAGINATIONS["link_header"])
    assert directory.sync().certificate.complete
    assert len(directory.users()) == SIZE * PAGES


@pytest.mark.parametrize("link", ["?page=2", "//{host}/users?page=2", " /users?q=a b ü&page=2\n"])
def test_a_next_address_in_a_page_may_be_written_in_many_ways(
    directory: Directory, link: str
) -> None:
    people = [person(number) for number in range(1, SIZE * 2 + 1)]

    def answer(asked: Asked) -> Reply:
        if asked.query.get("page") == "2":
            return as_json({"items": people[SIZE:], "next": None})
        following = link.replace("{host}", asked.headers["host"])
        return as_json({"items": people[:SIZE], "next": following})

    directory.provider.answer = answer
    directory.connect(PAGINATIONS["next_url"])
    assert directory.sync().certificate.complete
    assert len(directory.users()) == SIZE * 2


@pytest.mark.parametrize(
    ("pagination", "size"),
    [
        ({"type": "page", "size_param": "size", "size": SIZE}, "size"),
        ({"type": "offset", "size_param": "limit", "size": SIZE}, "limit"),
        ({"type": "cursor", "cursor": "next", "param": "after"}, "per_page"),
    ],
)
def test_a_second_listing_that_confirms_a_delete_has_pages_of_another_length(
    directory: Directory, pagination: Data, size: str
) -> None:
    people = [person(number) for number in range(1, SIZE * PAGES + 1)]

    def answer(asked: Asked) -> Reply:
        length = int(asked.query[size])
        if "page" in asked.query:
            start = (int(asked.query["page"]) - 1) * length
        else:
            start = int(asked.query.get("offset", asked.query.get("after", "0")))
        following = start + length if start + length < len(people) else None
        return as_json({"items": people[start : start + length], "next": following})

    directory.provider.answer = answer
    directory.connect(pagination, params={} if "size" in pagination else {size: SIZE})
    directory.sync()
    del people[4]
    lengths = []
    for _ in range(2):
        directory.provider.asked.clear()
        outcome = directory.sync()
        lengths.append({int(asked.query[size]) for asked in directory.provider.asked})
    assert outcome.counts.deletes == 1
    assert lengths[0] == {SIZE}
    assert lengths[1].isdisjoint(lengths[0])
