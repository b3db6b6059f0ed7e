"""Pull over HTTP: pages, long polls, snapshots, tokens and every refusal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import urllib3

from elt_assets.feed.consumers import Consumers
from elt_assets.feed.numbering import number_entries
from elt_assets.feed.scope import Scope
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.streams import USERS
from elt_assets_tests.feed.listening import ALL, applied
from elt_assets_tests.feed.serving import Asking, feed_server
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person

OTHER = IntegrationRef("globex", "main")

As = Callable[..., Asking]


@pytest.fixture
def consumer(company: Company) -> Iterator[As]:
    """Registers a consumer of a scope and returns it, with its token."""
    with ExitStack() as stack:
        url = stack.enter_context(feed_server(company.platform.settings))
        http = stack.enter_context(urllib3.PoolManager())
        count = iter(range(100))

        def registered(scope: Scope = ALL, token: str | None = "") -> Asking:
            if token == "":
                name = f"consumer-{next(count)}"
                token = Consumers(company.platform.database).add(name, scope, after="0")
            return Asking(url, token, http)

        yield registered


def test_a_consumer_reads_page_by_page_to_the_end(company: Company, consumer: As) -> None:
    world = company.connect(world=World(people(25)))
    company.sync()
    asking, after, entries = consumer(), "0", []
    while True:
        page = asking.get("/feed", after=after, limit=10).document
        entries += page["entries"]
        after = page["next"]
        if not page["more"]:
            break
    assert len(entries) == 25
    assert entries[-1]["position"] == after
    world.records = [person(0, name="Renamed"), *people(25)[1:]]
    company.sync(sync_id="s2")
    (renamed,) = asking.get("/feed", after=after).document["entries"]
    assert (renamed["type"], renamed["key"]) == ("users.updated", {"external_id": "u-0000"})
    lines = asking.get("/feed", after=after, headers={"Accept": "application/x-ndjson"})
    assert lines.lines == [renamed]
    assert lines.headers["Feed-Next"] == renamed["position"]
    assert asking.get("/feed", after=after, format="jsonl").body == lines.body


def test_a_long_poll_answers_as_soon_as_something_is_applied(
    company: Company, consumer: As
) -> None:
    world = company.connect(world=World(people(3)))
    company.sync()
    asking = consumer()
    after = asking.get("/feed").document["next"]
    empty = asking.get("/feed", after=after).document
    assert empty == {"entries": [], "next": after, "more": False}
    answers: list[object] = []

    def wait() -> None:
        answers.append(asking.get("/feed", after=after, wait=60).document["entries"])

    waiting = threading.Thread(target=wait)
    waiting.start()
    world.records = people(4)
    company.sync(sync_id="s2")
    waiting.join()
    assert [entry["key"] for entry in answers[0]] == [{"external_id": "u-0003"}]  # type: ignore[attr-defined]


def test_a_snapshot_and_the_feed_after_it_are_the_table(company: Company, consumer: As) -> None:
    """People change, come and go between the pages of the snapshot."""
    world = company.connect(world=World(people(40)))
    company.connect(OTHER, World(people(5)))
    company.sync()
    company.sync(OTHER)
    asking, rows, page, changed = consumer(), {}, None, 0
    while True:
        query = {} if page is None else {"page": page}
        answer = asking.get("/snapshot", stream="users", limit=9, **query).document
        for row in answer["rows"]:
            owner = (row["organization_id"], row["connected_integration_id"])
            rows[(*owner, row["id"])] = row["row"]
        page = answer["next_page"]
        if page is None:
            break
        changed += 1
        world.records = [
            person(n, name=f"Person {n} at {changed}") for n in range(changed, 40 + changed)
        ]
        company.sync(sync_id=f"s{changed}-1")
        company.sync(sync_id=f"s{changed}-2")
    assert changed >= 4
    for entry in asking.get("/feed", after=answer["position"], limit=5_000).document["entries"]:
        key = (entry["organization_id"], entry["connected_integration_id"], entry["id"])
        if entry["after"] is None:
            rows.pop(key, None)
        else:
            rows[key] = entry["after"]
    assert rows == applied(asking.get("/feed", limit=5_000).document["entries"])
    assert len(rows) == 45


def test_a_snapshots_row_says_which_entries_it_holds(company: Company, consumer: As) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    (row, *_) = consumer().get("/snapshot").document["rows"]
    assert row["sequence"] == 3
    lines = consumer().get("/snapshot", format="jsonl", limit=2)
    assert len(lines.lines) == 2
    assert lines.headers["Feed-Next-Page"]
    assert lines.headers["Feed-Position"].endswith("-3")


def test_a_token_never_sees_another_tenant(company: Company, consumer: As) -> None:
    company.connect(world=World(people(3)))
    company.connect(OTHER, World(people(4)))
    company.sync()
    company.sync(OTHER)
    third = IntegrationRef("initech", "main")
    company.connect(third, World([person(n, name=f"Initech {n}") for n in range(3)]))
    company.sync(third)
    company.platform.remove(ACME)
    own = consumer(Scope(organizations=("globex",)))
    for path in ("/feed", "/snapshot"):
        answer = own.get(path)
        assert b"acme" not in answer.body
        assert b"nitech" not in answer.body
        assert b"globex" in answer.body
        refused = own.get(path, organization="acme")
        absent = own.get(path, organization="nothing-there")
        assert refused.status == absent.status == 403
        assert refused.message.replace("acme", "") == absent.message.replace("nothing-there", "")
    assert len(own.get("/feed", organization="globex").document["entries"]) == 4
    assert consumer().get("/feed", organization="nothing-there").document["entries"] == []


def test_fields_outside_the_scope_are_in_neither_answer(company: Company, consumer: As) -> None:
    company.connect(world=World(people(2)))
    company.sync()
    few = consumer(Scope(fields=("active",)))
    assert few.get("/feed").document["entries"][0]["after"] == {"active": True}
    assert few.get("/snapshot").document["rows"][0]["row"] == {"active": True}
    assert b"example.com" not in few.get("/feed").body + few.get("/snapshot").body
    none = consumer(Scope(fields=()))
    assert none.get("/snapshot").document["rows"][0]["row"] is None


def test_missing_wrong_and_revoked_tokens_are_refused(company: Company, consumer: As) -> None:
    registered = Consumers(company.platform.database)
    token = registered.add("billing", Scope())
    assert token is not None
    assert consumer(token=token).get("/feed").status == 200
    other = registered.rotate("billing")
    assert consumer(token=other).get("/feed").status == 200
    registered.remove("billing")
    for wrong in (None, token, other, "x", "eaf_"):
        answer = consumer(token=wrong).get("/feed")
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "missing, wrong or revoked" in answer.message
    stored = company.platform.database.rows("SELECT * FROM feed_consumers")
    assert token not in str(stored)


@pytest.mark.parametrize(
    ("path", "query", "status", "said"),
    [
        ("/feed", {"limit": "0"}, 400, "limit is '0': send a whole number from 1 to 5000"),
        ("/feed", {"limit": "99999"}, 400, "from 1 to 5000"),
        ("/feed", {"limit": "ten"}, 400, "limit is 'ten'"),
        ("/feed", {"wait": "61"}, 400, "from 0 to 60"),
        ("/feed", {"after": "yesterday"}, 400, "'yesterday' is not a position"),
        ("/feed", {"after": "00000000-1"}, 409, "another installation"),
        ("/feed", {"stream": "cars"}, 400, "send one of users, groups, group_memberships"),
        ("/feed", {"format": "xml"}, 400, "send json or jsonl"),
        ("/feed", {"since": "1"}, 400, "unknown parameter 'since'"),
        ("/snapshot", {"page": "!!"}, 400, "send `next_page` of the previous answer"),
        ("/elsewhere", {}, 404, "/feed and /snapshot"),
    ],
)
def test_a_request_that_cannot_be_meant_is_told_why(
    company: Company, consumer: As, path: str, query: dict[str, str], status: int, said: str
) -> None:
    answer = consumer().get(path, **query)
    assert (answer.status, said in answer.message) == (status, True), answer


def test_what_is_no_longer_kept_is_gone(company: Company, consumer: As) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    state = number_entries(company.platform.database)
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE feed_state SET trimmed = 2")
    asking = consumer()
    gone = asking.get("/feed", after=state.text(1))
    assert (gone.status, "take a snapshot" in gone.message) == (410, True)
    assert len(asking.get("/feed", after=state.text(2)).document["entries"]) == 1


def test_only_reads_of_this_server_by_its_own_name_are_answered(
    company: Company, consumer: As
) -> None:
    asking = consumer()
    assert asking.get("/feed", headers={"Host": "rebound.example"}).status == 421
    assert asking.get("/feed", headers={"Origin": "https://evil.example"}).status == 403
    posted = asking.http.request("POST", f"{asking.url}/feed", retries=False)
    assert posted.status == 405


def test_a_consumer_that_waits_is_up_to_date_at_once(company: Company, consumer: As) -> None:
    """Although the request before, of the same second, was noted already."""
    company.connect(world=World(people(3)))
    company.sync()
    asking = consumer()
    after = asking.get("/feed").document["next"]
    asking.get("/feed", after=after.replace("-3", "-1"))
    waiting = threading.Thread(
        target=asking.get, args=("/feed",), kwargs={"after": after, "wait": 2}
    )
    waiting.start()
    registered = Consumers(company.platform.database)
    while registered.all()[0].position != 3:
        assert waiting.is_alive()
    waiting.join()


def test_what_a_consumer_asks_after_is_noted_as_its_position(
    company: Company, consumer: As
) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    asking = consumer()
    after = asking.get("/feed").document["next"]
    asking.get("/feed", after=after)
    (known,) = Consumers(company.platform.database).all()
    assert known.position == 3
    assert company.platform.records(USERS, ACME)
