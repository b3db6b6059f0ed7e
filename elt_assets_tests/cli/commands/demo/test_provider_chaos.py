"""`elt-assets provider --chaos`: a provider with bad days, from the command line."""

from __future__ import annotations

import re
import signal

import urllib3
from urllib3.exceptions import HTTPError

from elt_assets_tests.cli.conftest import Process


def test_the_chaos_option_makes_requests_fail(elt_assets_process: Process) -> None:
    arguments = ("--users", "12", "--integrations", "1", "--chaos", "0.5")
    with elt_assets_process.start("provider", *arguments) as provider:
        assert provider.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", provider.stdout.readline())
        assert found is not None
        token = (elt_assets_process.home / "demo" / "token").read_text().strip()
        answers = [status(f"{found[0]}/v1/demo-001/people-001/users", token) for _ in range(40)]
        provider.send_signal(signal.SIGINT)
        provider.communicate()
    assert 5 < answers.count(200) < 35


def status(url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with urllib3.PoolManager() as http:
            return http.request("GET", url, headers=headers, retries=False).status
    except (HTTPError, OSError):
        return 0
