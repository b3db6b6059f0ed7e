"""The README names what there is."""

from __future__ import annotations

import re

import pytest

from elt_assets.cli.main import COMMANDS
from elt_assets.config.settings import Settings
from elt_assets_tests.cli.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_table(name: str) -> None:
    assert re.search(rf"^\|[^|]*`elt-assets {name}`[^|]*\|", README, re.MULTILINE)


def test_every_variable_named_is_a_setting() -> None:
    named = set(re.findall(r"ELT_ASSETS_[A-Z_]+", README))
    settings = {f"ELT_ASSETS_{name.upper()}" for name in Settings.model_fields}
    assert named
    assert named <= settings


def test_the_example_of_provider_data_is_valid() -> None:
    import yaml

    from elt_assets.connectors import catalog

    (example,) = re.findall(r"```yaml\n# acme\.yaml\n(.*?)```", README, re.DOTALL)
    catalog.validate("rest", yaml.safe_load(example))
