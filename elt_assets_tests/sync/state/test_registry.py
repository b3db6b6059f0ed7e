from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.state import registry
from elt_assets.sync.state.audit_log import AuditLog
from elt_assets.sync.state.registry import Registry
from elt_assets.sync.state.store_tables import operational_tables
from elt_assets.sync.streams import STREAMS, USERS
from elt_assets_tests.sync.worlds import ACME, PROVIDER_DATA

ALIKE = IntegrationRef("a", "bc"), IntegrationRef("ab", "c")


@pytest.fixture
def database(backend: str) -> Iterator[OperationalDatabase]:
    made = operational_database(load_settings())
    made.migrate(**operational_tables(made.dialect))
    yield made
    made.close()


@pytest.fixture
def integrations(database: OperationalDatabase) -> Registry:
    return Registry(database, audit_log=AuditLog(database, load_settings()))


def test_an_integration_is_found_as_it_was_registered(integrations: Registry) -> None:
    assert integrations.add(ACME, "rest", PROVIDER_DATA)
    found = integrations.get(ACME)
    assert (found.ref, found.provider, found.enabled) == (ACME, "rest", True)
    assert found.provider_data == PROVIDER_DATA
    assert found.created_at == found.updated_at


def test_text_of_every_kind_survives_in_provider_data(integrations: Registry) -> None:
    data = PROVIDER_DATA | {"permission_source_name": 'Größe "x" \'; DROP TABLE syncs; -- 😀'}
    integrations.add(ACME, "rest", data)
    assert integrations.get(ACME).provider_data == data


def test_registering_twice_is_refused_and_keeps_the_first(integrations: Registry) -> None:
    integrations.add(ACME, "rest", PROVIDER_DATA)
    other = PROVIDER_DATA | {"permission_source_name": "Another"}
    with pytest.raises(InvalidInput, match=r"^acme:main is registered already; "):
        integrations.add(ACME, "rest", other)
    assert not integrations.add(ACME, "rest", other, if_absent=True)
    assert integrations.get(ACME).provider_data == PROVIDER_DATA


@pytest.mark.parametrize("if_absent", [True, False])
@pytest.mark.parametrize("other", ["Acme:main", "acme:MAIN", "ACME:Main"])
def test_a_name_that_differs_in_case_alone_is_refused_and_names_the_other(
    integrations: Registry, other: str, if_absent: bool
) -> None:
    """On macOS and Windows both would be kept in one file."""
    integrations.add(ACME, "rest", PROVIDER_DATA)
    with pytest.raises(InvalidInput, match=f"^{other} differs from acme:main, which is regist"):
        integrations.add(IntegrationRef.parse(other), "rest", PROVIDER_DATA, if_absent=if_absent)
    assert [integration.ref for integration in integrations.all()] == [ACME]


@pytest.mark.parametrize("if_absent", [True, False])
def test_what_is_not_valid_is_refused_before_anything_is_written(
    integrations: Registry, if_absent: bool
) -> None:
    with pytest.raises(InvalidInput, match=r"^provider 'nope' is unknown"):
        integrations.add(ACME, "nope", PROVIDER_DATA, if_absent=if_absent)
    with pytest.raises(InvalidInput, match=r"^provider_data: api_endpoint: "):
        integrations.add(ACME, "rest", {**PROVIDER_DATA, "api_endpoint": ""}, if_absent=if_absent)
    assert integrations.all() == []


def test_a_secret_itself_is_never_stored(
    integrations: Registry, database: OperationalDatabase
) -> None:
    data = PROVIDER_DATA | {"auth": {"type": "bearer", "token": "s3cret-token"}}
    with pytest.raises(InvalidInput) as refused:
        integrations.add(ACME, "rest", data)
    assert "s3cret" not in str(refused.value)
    assert database.rows("SELECT * FROM connected_integrations") == []


def test_who_is_not_registered_is_named(integrations: Registry) -> None:
    with pytest.raises(NotFound, match=r"^acme:main is not registered; `elt-assets integrations"):
        integrations.get(ACME)
    with pytest.raises(NotFound, match=r"^acme:main is not registered"):
        integrations.set_enabled(ACME, False)


def test_all_come_in_the_order_in_which_they_were_registered(integrations: Registry) -> None:
    refs = [IntegrationRef("z", "9"), IntegrationRef("a", "1"), IntegrationRef("m", "5")]
    for ref in refs:
        integrations.add(ref, "rest", PROVIDER_DATA)
    assert [integration.ref for integration in integrations.all()] == refs


@pytest.mark.parametrize(
    "stored",
    [
        {"streams": {"users": {"path": "/u"}, "groups": {"path": "/g"}}},
        {"streams": {"groups": {"path": "/g"}}},
        {"streams": ["users", "groups"]},
        {"streams": "groups"},
        {"streams": [1, 2]},
        {"streams": None},
        {"tenant": "acme"},
        ["groups"],
    ],
)
def test_who_offers_a_stream_is_told_as_each_integration_tells_it(
    integrations: Registry, database: OperationalDatabase, stored: object
) -> None:
    """Also of what an earlier release stored and this one would refuse."""
    integrations.add(ACME, "rest", PROVIDER_DATA)
    with database.transaction() as transaction:
        text = json.dumps(stored)
        transaction.execute("UPDATE connected_integrations SET provider_data = ?", (text,))
    (entry,) = integrations.all()
    for stream in STREAMS.values():
        assert integrations.offering(stream) == ([ACME] if entry.offers(stream) else [])
    integrations.set_enabled(ACME, False)
    assert integrations.offering(USERS) == []


def test_corrected_provider_data_replaces_what_was_there(integrations: Registry) -> None:
    integrations.add(ACME, "rest", PROVIDER_DATA)
    integrations.set_enabled(ACME, False)
    corrected = PROVIDER_DATA | {"permission_source_name": "Corrected"}
    assert integrations.update(ACME, corrected)
    found = integrations.get(ACME)
    assert (found.provider_data, found.enabled) == (corrected, False)
    assert found.updated_at > found.created_at


def test_an_update_that_changes_nothing_says_so_and_leaves_the_date(
    integrations: Registry,
) -> None:
    integrations.add(ACME, "rest", PROVIDER_DATA)
    assert not integrations.update(ACME, dict(PROVIDER_DATA))
    assert integrations.get(ACME).updated_at == integrations.get(ACME).created_at


def test_an_update_that_does_not_fit_the_provider_is_refused(integrations: Registry) -> None:
    integrations.add(ACME, "rest", PROVIDER_DATA)
    with pytest.raises(InvalidInput, match="api_endpoint"):
        integrations.update(ACME, PROVIDER_DATA | {"api_endpoint": "not an address"})
    with pytest.raises(NotFound, match="nobody:there"):
        integrations.update(IntegrationRef("nobody", "there"), PROVIDER_DATA)
    assert integrations.get(ACME).provider_data == PROVIDER_DATA


def test_one_is_switched_off_and_on_again_and_the_others_stay(integrations: Registry) -> None:
    for ref in ALIKE:
        integrations.add(ref, "rest", PROVIDER_DATA)
    one, other = ALIKE
    integrations.set_enabled(one, False)
    assert [integration.ref for integration in integrations.all(enabled=True)] == [other]
    assert [integration.ref for integration in integrations.all(enabled=False)] == [one]
    assert integrations.get(one).updated_at > integrations.get(one).created_at
    integrations.set_enabled(one, True)
    assert [integration.ref for integration in integrations.all(enabled=True)] == [one, other]


def test_removing_one_leaves_the_one_whose_name_reads_alike(
    integrations: Registry, database: OperationalDatabase
) -> None:
    for ref in ALIKE:
        integrations.add(ref, "rest", PROVIDER_DATA)
    one, other = ALIKE
    with database.transaction() as transaction:
        registry.remove(transaction, one)
        assert not registry.registered(transaction, one)
        assert registry.registered(transaction, other)
    assert [integration.ref for integration in integrations.all()] == [other]
