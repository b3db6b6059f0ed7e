from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from elt_assets.config.secret_refs import REDACTED, SecretRef, Secrets
from elt_assets.errors import SecretMissing


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


def test_a_variable_is_read_only_when_the_secret_is_needed(
    monkeypatch: pytest.MonkeyPatch, secrets: Secrets
) -> None:
    ref = SecretRef(env="ACME_TOKEN")
    monkeypatch.setenv("ACME_TOKEN", "first-token")
    assert secrets.resolve(ref) == "first-token"
    monkeypatch.setenv("ACME_TOKEN", "second-token")
    assert secrets.resolve(ref) == "second-token"


def test_a_file_is_read_without_the_line_feed_that_editors_add(
    tmp_path: Path, secrets: Secrets
) -> None:
    path = tmp_path / "token"
    path.write_text(" s3cret-ö \n", "utf-8")
    assert secrets.resolve(SecretRef(file=str(path))) == "s3cret-ö"


def test_a_file_in_the_users_own_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secrets: Secrets
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("s3cret", "utf-8")
    assert secrets.resolve(SecretRef(file="~/token")) == "s3cret"


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_unset_or_empty_is_named(
    monkeypatch: pytest.MonkeyPatch, secrets: Secrets, value: str | None
) -> None:
    monkeypatch.delenv("ACME_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("ACME_TOKEN", value)
    with pytest.raises(SecretMissing, match=r"^environment variable ACME_TOKEN is not set"):
        secrets.resolve(SecretRef(env="ACME_TOKEN"))


def test_a_missing_secret_file_is_named_with_the_reason(tmp_path: Path, secrets: Secrets) -> None:
    path = tmp_path / "nowhere"
    with pytest.raises(SecretMissing, match=f"^secret file {path} cannot be read .FileNotFound"):
        secrets.resolve(SecretRef(file=str(path)))


@pytest.mark.parametrize("content", [b"", b" \n\t"])
def test_an_empty_file_is_named(tmp_path: Path, secrets: Secrets, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SecretMissing, match=f"^secret file {path} is empty"):
        secrets.resolve(SecretRef(file=str(path)))


def test_a_secret_file_that_is_not_text_is_refused_without_quoting_it(
    tmp_path: Path, secrets: Secrets
) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"s3cret\xff\xfe")
    with pytest.raises(SecretMissing, match="cannot be read") as refused:
        secrets.resolve(SecretRef(file=str(path)))
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "reference", [{}, {"env": "A", "file": "b"}, {"value": "s3cret"}, {"env": "A", "x": 1}]
)
def test_a_reference_is_one_of_the_two_kinds_and_nothing_else(reference: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SecretRef.model_validate(reference)


def test_resolved_secrets_are_redacted(monkeypatch: pytest.MonkeyPatch, secrets: Secrets) -> None:
    monkeypatch.setenv("ACME_TOKEN", "t0ken")
    assert secrets.redact("nothing known: t0ken") == "nothing known: t0ken"
    secrets.resolve(SecretRef(env="ACME_TOKEN"))
    assert secrets.redact("Bearer t0ken, t0ken!") == f"Bearer {REDACTED}, {REDACTED}!"


def test_a_secret_inside_a_longer_one_leaves_nothing_of_the_longer_one(secrets: Secrets) -> None:
    secrets.remember("abcd")
    secrets.remember("abcdefgh")
    assert secrets.redact("abcdefgh abcd") == f"{REDACTED} {REDACTED}"


def test_a_value_too_short_to_tell_from_words_is_left_alone(secrets: Secrets) -> None:
    secrets.remember("a")
    assert secrets.redact("a page") == "a page"


def test_secrets_of_one_sync_are_not_those_of_another(secrets: Secrets) -> None:
    secrets.remember("t0ken")
    assert Secrets().redact("t0ken") == "t0ken"


def test_a_secret_is_found_in_a_text_as_it_is_and_as_a_url_spells_it(secrets: Secrets) -> None:
    secrets.remember("t0ken/+=1")
    assert secrets.stands_in("/users?key=t0ken/+=1")
    assert secrets.stands_in("/users?key=t0ken%2F%2B%3D1&page=2")
    assert not secrets.stands_in("/users?page=t0ken")


def test_a_secret_that_may_appear_in_a_cursor_by_chance_is_not_searched_for(
    secrets: Secrets,
) -> None:
    secrets.remember("page")
    assert not secrets.stands_in("/users?page=2")
