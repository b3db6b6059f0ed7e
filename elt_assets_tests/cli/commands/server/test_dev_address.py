"""Commands of a home find the web server that `elt-assets dev` has started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from elt_assets.cli.commands.server.dev_address import DEFAULT_URL, announced, url_of_dev
from elt_assets.cli.main import Invocation, run
from elt_assets.config.settings import load_settings
from elt_assets_tests.cli.conftest import free_port


def test_a_command_goes_where_dev_serves(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_home.mkdir()
    url = f"http://127.0.0.1:{free_port()}"
    with announced(load_settings(), url):
        assert run(["list"], Invocation()) == 1
    assert f"no web server at {url}" in capsys.readouterr().err
    assert url_of_dev() == DEFAULT_URL, "dev has ended"


def test_the_address_of_a_killed_dev_is_not_used(own_home: Path) -> None:
    own_home.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = {"url": "http://127.0.0.1:1", "pid": ended.pid}
    (own_home / "dev.json").write_bytes(msgspec.json.encode(left))
    assert url_of_dev() == DEFAULT_URL


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"url": 1}'])
def test_a_damaged_file_is_no_address(own_home: Path, damaged: bytes) -> None:
    own_home.mkdir()
    (own_home / "dev.json").write_bytes(damaged)
    assert url_of_dev() == DEFAULT_URL


def test_a_home_that_does_not_exist_has_the_default() -> None:
    assert url_of_dev() == DEFAULT_URL
