"""dlt sources and resources that the tests name by import path."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import dlt
import pyarrow as pa

LEAVERS: set[int] = set()


def person(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"Person {number}", "contact": {"email": f"p{number}@x.example"}}


def staff(numbers: range) -> list[dict[str, Any]]:
    return [person(number) for number in numbers if number not in LEAVERS]


@dlt.resource
def users(count: int = 20, by: int = 3) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, count, by):
        yield staff(range(start, min(start + by, count)))


@dlt.resource
def one_by_one() -> Iterator[dict[str, Any]]:
    yield from staff(range(5))


@dlt.resource
def nobody() -> Iterator[dict[str, Any]]:
    yield from ()


@dlt.resource(parallelized=True)
def parallel() -> Iterator[list[dict[str, Any]]]:
    yield staff(range(3))
    yield staff(range(3, 5))


@dlt.resource
async def asynchronous() -> AsyncIterator[list[dict[str, Any]]]:
    yield staff(range(5))


@dlt.resource
def tables() -> Iterator[Any]:
    seen = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    yield pa.table(
        {
            "id": [0, 1, 2],
            "seen": pa.array([seen] * 3, pa.timestamp("ns", "UTC")),
            "none": [None] * 3,
        }
    )
    yield [pa.record_batch({"id": [3]}), {"id": 4}]


@dlt.resource
def odd_values() -> Iterator[list[Any]]:
    yield [
        {"id": "when", "at": dlt.common.pendulum.datetime(2026, 1, 2, 3, 4, 5)},
        {"id": "exact", "at": decimal.Decimal("1.50")},
        {"id": "none", "at": decimal.Decimal("NaN")},
        {"id": "code", "at": object()},
        {"id": "surrogate", "at": "\ud800"},
        "not an object",
    ]


@dlt.resource
def no_numbers() -> Iterator[list[dict[str, Any]]]:
    yield [{"id": 1, "at": decimal.Decimal("Infinity")}, {"id": 2, "at": "NaN and Infinity"}]


@dlt.resource
def broken() -> Iterator[list[dict[str, Any]]]:
    yield staff(range(3))
    raise KeyError("ada@x.example")


@dlt.resource
def changed_since(
    updated: Any = dlt.sources.incremental("updated", initial_value=5),  # noqa: B008
) -> Iterator[list[dict[str, Any]]]:
    yield [one | {"updated": one["id"]} for one in staff(range(10))]


@dlt.resource
def changed_ever(
    updated: Any = dlt.sources.incremental("updated"),  # noqa: B008
) -> Iterator[list[dict[str, Any]]]:
    yield [one | {"updated": one["id"]} for one in staff(range(10))]


limited = users().with_name("limited").add_limit(2)


@dlt.source
def company(token: str, departments: list[dict[str, str]] | None = None) -> Any:
    @dlt.resource(name="people")
    def people() -> Iterator[list[dict[str, Any]]]:
        yield [{"id": 1, "token": token, "departments": departments}]

    @dlt.transformer(data_from=people, name="badges")
    def badges(page: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for one in page:
            yield {"id": f"badge-{one['id']}"}

    return people, badges


@dlt.source
def configured(api_key: str = dlt.secrets.value) -> Any:
    return users


def plain() -> Iterator[dict[str, Any]]:
    yield {"id": 1}
