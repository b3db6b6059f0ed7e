from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets.config.secret_refs import SecretRef, revealed
from elt_assets.config.settings import Settings, load_settings
from elt_assets.errors import InvalidInput

# Documented in INTERFACE.md and the README: a default that moves is a change for users.
DEFAULTS = {
    "pages_per_batch": 10,
    "fetch_attempts": 3,
    "show_personal_values": False,
}


def test_everything_lies_under_the_home_folder(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    assert settings.database_path == tmp_path / "oltp.db"
    assert settings.warehouse_path == tmp_path / "olap"
    assert settings.drops_path == tmp_path / "drops"
    assert settings.dagster_path == tmp_path / "dagster"


def test_the_environment_is_read_on_each_load_and_arguments_override_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ELT_ASSETS_PAGES_PER_BATCH", "3")
    monkeypatch.setenv("ELT_ASSETS_LOCK_WAIT", "0.5")
    settings = load_settings(lock_wait=2.0)
    assert (settings.pages_per_batch, settings.lock_wait) == (3, 2.0)
    monkeypatch.setenv("ELT_ASSETS_PAGES_PER_BATCH", "4")
    assert load_settings().pages_per_batch == 4


def test_an_untouched_installation_has_the_documented_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ELT_ASSETS_HOME")
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.home == tmp_path / ".elt_assets"
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


def test_a_relative_home_stays_where_it_was_when_the_process_moves_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELT_ASSETS_HOME", "here")
    settings = load_settings()
    monkeypatch.chdir("/")
    assert settings.database_path == tmp_path / "here" / "oltp.db"


def test_a_tilde_is_the_users_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(home="~/platform").home == tmp_path / "platform"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAGES_PER_BATCH", "0"),
        ("PAGES_PER_BATCH", "many"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "257"),
        ("MAX_PAGES", "-1"),
        ("FETCH_ATTEMPTS", "0"),
        ("FETCH_FIRST_WAIT", "-0.1"),
        ("REQUEST_TIMEOUT", "0"),
        ("PAGE_BYTES", "1023"),
        ("LOCK_WAIT", "-1"),
        ("WAREHOUSE_THREADS", "0"),
        ("SHOW_PERSONAL_VALUES", "maybe"),
        ("HEALTH_PORT", "0"),
        ("ALERT_WEBHOOK", "hooks.example.com/secret-4711"),
        ("ALERT_SLACK", "ftp://hooks.example.com/secret-4711"),
        ("SMTP_SECURITY", "maybe"),
    ],
)
def test_a_setting_out_of_range_is_named_as_it_is_spelled_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"ELT_ASSETS_{name}", value)
    with pytest.raises(InvalidInput, match=f"^settings: ELT_ASSETS_{name}: ") as refused:
        load_settings()
    assert len(str(refused.value).splitlines()) == 1
    assert "secret-4711" not in str(refused.value)


def test_every_mistake_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELT_ASSETS_CONCURRENCY", "none")
    monkeypatch.setenv("ELT_ASSETS_LOCK_WAIT", "long")
    with pytest.raises(InvalidInput) as refused:
        load_settings()
    assert "ELT_ASSETS_CONCURRENCY: " in str(refused.value)
    assert "ELT_ASSETS_LOCK_WAIT: " in str(refused.value)


def test_every_setting_says_what_it_is() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]
    assert silent == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ALERT_EMAIL_TO": "a@example.com"}, "needs ELT_ASSETS_SMTP_HOST and"),
        (
            {"SMTP_USER": "elt", "SMTP_SECURITY": "none"},
            "set ELT_ASSETS_SMTP_SECURITY to starttls or tls",
        ),
    ],
)
def test_settings_that_depend_on_each_other_are_checked(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"ELT_ASSETS_{name}", value)
    with pytest.raises(InvalidInput, match=said):
        load_settings()


LAKE = {
    "operational_url": "postgresql://elt@db/app",
    "warehouse_url": "postgresql://elt@db/app",
    "warehouse_data": "/srv/lake",
}


def test_a_lake_needs_a_catalog_and_a_place_for_its_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load_settings(**LAKE)
    assert str(settings.warehouse_address) == "postgresql://elt@db/app"
    monkeypatch.chdir(tmp_path)
    here = load_settings(**LAKE | {"warehouse_data": "lake"})
    assert here.warehouse_data == str(tmp_path / "lake")
    stored = load_settings(
        **LAKE
        | {"warehouse_data": "s3://b/lake", "s3_key_id": "env:KEY", "s3_secret": "file:/run/s3"}
    )
    assert stored.warehouse_data == "s3://b/lake"


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"warehouse_url": "sqlite:///lake.db"}, "needs its catalog on PostgreSQL"),
        ({"warehouse_url": "ducklake:lake.ducklake"}, "needs its catalog on PostgreSQL"),
        ({"warehouse_url": "lake.db"}, "needs its catalog on PostgreSQL"),
        (
            {"warehouse_url": "postgresql://elt:hunter2@db/app"},
            "ELT_ASSETS_WAREHOUSE_PASSWORD, as env:NAME",
        ),
        ({"warehouse_data": None}, "belong together"),
        ({"warehouse_url": None}, "belong together"),
        ({"operational_url": None}, "needs ELT_ASSETS_OPERATIONAL_URL too"),
        ({"warehouse_data": "s3://b/lake"}, "ELT_ASSETS_S3_KEY_ID"),
        ({"s3_secret": "hunter2"}, "not a reference"),
        ({"warehouse_schema": 'x"; DROP'}, "ELT_ASSETS_WAREHOUSE_SCHEMA"),
    ],
)
def test_an_incomplete_configuration_of_a_lake_is_refused(
    changed: dict[str, str | None], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint) as refused:
        load_settings(**LAKE | changed)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["alert_secret", "smtp_password", "alert_webhook", "alert_slack"])
@pytest.mark.parametrize(
    "given",
    [
        "env:",
        "ENV:HUNTER2",
        "file:",
        " env:HUNTER2",
        "{env: HUNTER2}",
        "$HUNTER2",
        "${HUNTER2}",
        "file=x",
    ],
)
def test_a_secret_that_looks_like_a_reference_is_refused(name: str, given: str) -> None:
    with pytest.raises(InvalidInput, match="looks like a reference but is not one") as refused:
        load_settings(**{name: given})
    assert f"ELT_ASSETS_{name.upper()}: " in str(refused.value)
    assert "HUNTER2" not in str(refused.value)


def test_a_secret_is_given_as_itself_or_as_a_reference() -> None:
    settings = load_settings(alert_secret="hunter2", smtp_password="file:/run/secrets/smtp")
    assert settings.smtp_password == SecretRef(file="/run/secrets/smtp")
    assert settings.alert_secret is not None
    assert revealed(settings.alert_secret) == "hunter2"
    assert "hunter2" not in repr(settings)
    plain = load_settings(smtp_password="$ecret1").smtp_password
    assert plain is not None
    assert revealed(plain) == "$ecret1"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"fetches": 0}, "ELT_ASSETS_FETCHES"),
        ({"fetches": 5_000}, "ELT_ASSETS_FETCHES"),
        ({"fetches": 4}, r"ELT_ASSETS_FETCHES is 4, less than ELT_ASSETS_CONCURRENCY \(8\)"),
        ({"fetch_memory": 10}, "ELT_ASSETS_FETCH_MEMORY"),
        (
            {"page_bytes": 2**28},
            r"ELT_ASSETS_FETCH_MEMORY is 134,217,728, less than ELT_ASSETS_PAGE_BYTES \(268",
        ),
    ],
)
def test_fetchers_without_room_are_refused(given: dict[str, int], named: str) -> None:
    with pytest.raises(InvalidInput, match=named) as refused:
        load_settings(**given)
    assert len(str(refused.value).splitlines()) == 1
