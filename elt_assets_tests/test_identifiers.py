from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef, checked_name

NAMES = st.text(alphabet=string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)

REFUSED = {
    "nothing": "",
    "a leading dot": ".hidden",
    "the parent folder": "..",
    "two dots in a row": "a..b",
    "65 characters": "a" * 65,
    "a slash": "a/b",
    "a backslash": "a\\b",
    "a colon": "a:b",
    "a space": "a b",
    "a trailing line feed": "acme\n",
    "a null character": "a\0b",
    "a quote": "a'b",
    "a comma": "a,b",
    "a pipe": "a|b",
    "a letter beyond ASCII": "ä",
    "a digit beyond ASCII": "٣",  # Arabic-Indic three
    "a character of no width": "a\u200bb",
}


@pytest.mark.parametrize("name", ["a", "0", "_", "-", "org-001", "A.b_c-9", "a.", "x" * 64])
def test_letters_digits_dots_underscores_and_hyphens_make_a_name(name: str) -> None:
    assert checked_name(name, "organization") == name


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused_and_shown_escaped(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_name(name, "organization")
    assert str(refused.value).startswith(f"organization {name!r} is not a valid name: use ")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_an_integration_with_a_bad_half_cannot_exist(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^organization "):
        IntegrationRef(name, "main")
    with pytest.raises(InvalidInput, match=r"^integration "):
        IntegrationRef("acme", name)


@given(NAMES, NAMES)
def test_a_partition_key_is_read_back_as_what_it_was_made_of(org: str, integration: str) -> None:
    ref = IntegrationRef(org, integration)
    assert IntegrationRef.parse(ref.partition_key) == ref
    assert str(ref) == f"{org}:{integration}"


@given(NAMES, NAMES, NAMES, NAMES)
def test_two_integrations_never_share_a_partition_key(a: str, b: str, c: str, d: str) -> None:
    one, other = IntegrationRef(a, b), IntegrationRef(c, d)
    assert (one.partition_key == other.partition_key) == (one == other)


@pytest.mark.parametrize("key", ["acme", "", "acme-main"])
def test_a_key_without_a_colon_is_told_how_to_be_written(key: str) -> None:
    with pytest.raises(InvalidInput, match="write ORG:ID, for example org-001:okta-main"):
        IntegrationRef.parse(key)


@pytest.mark.parametrize("key", [":main", "acme:", "a:b:c", "acme:main ", "a:b...a:c"])
def test_a_key_with_a_bad_half_names_that_half(key: str) -> None:
    with pytest.raises(InvalidInput, match=r"^(organization|integration) .* is not a valid name"):
        IntegrationRef.parse(key)
