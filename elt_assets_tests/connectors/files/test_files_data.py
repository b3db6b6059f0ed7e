"""What may stand in a files integration's provider_data."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.connectors import catalog
from elt_assets.errors import InvalidInput


def data(**stream: Any) -> dict[str, Any]:
    return {"streams": {"users": {"path": "users.csv", "fields": {"external_id": "id"}, **stream}}}


def test_a_pattern_and_a_field_map_are_enough() -> None:
    assert catalog.validate("files", data()) == data()
    assert catalog.streams(data()) == ("users",)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"path": "/etc/passwd"}, r"streams\.users\.path: write a name or a pattern"),
        ({"path": "a/../../b"}, r"streams\.users\.path: write a name or a pattern"),
        ({"encoding": "klingon"}, r"streams\.users\.encoding: 'klingon' is not an encoding"),
        ({"encoding": "base64"}, r"streams\.users\.encoding: 'base64' is not an encoding"),
        ({"delimiter": ",,"}, r"streams\.users\.delimiter"),
        ({"columns": ["id", "id"]}, r"streams\.users: columns names one twice"),
        ({"records": "a[0]"}, r"streams\.users\.records: .* has a list position"),
        ({"fields": {"name": "n"}}, r"streams\.users\.fields: has no external_id"),
        ({"fields": {"external_id": 'a == "b"'}}, r"fields: external_id compares"),
        ({"fields": {"external_id": "a b"}}, r"fields: external_id: expression 'a b'"),
        ({"fields": {"external_id": "id", "E-Mail": "x"}}, r"fields: has 'E-Mail'"),
    ],
)
def test_each_mistake_is_named_by_its_field(stream: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        catalog.validate("files", data(**stream))


def test_a_directory_is_a_whole_path() -> None:
    with pytest.raises(InvalidInput, match="directory: write the whole path"):
        catalog.validate("files", {**data(), "directory": "exports"})
