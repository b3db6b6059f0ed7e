from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.errors import EltAssetsError, InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.demo.reading import read_page, read_truth

pytestmark = pytest.mark.slow

SMALL = DemoLayout(integrations=1, users=15)
PEOPLE = IntegrationRef("demo-001", "people-001")

# A parent that forks a child with the provider's pipes open, so that closed pipes cannot be
# what ends the provider, and then is killed.
KILLED_PARENT = """
import os, signal, sys
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
provider = ProviderProcess(DemoLayout(integrations=1, users=15))
provider.start()
forked = os.fork()
if forked == 0:
    signal.pause()
print(provider.pid, provider.port, forked, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def exists(pid: int) -> bool:
    """Whether the process is there and is more than an exit status nobody has read."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_it_answers_when_entered_and_is_gone_when_left() -> None:
    with ProviderProcess(SMALL) as provider:
        pid, port = provider.pid, provider.port
        assert provider.url == f"http://127.0.0.1:{port}"
        assert provider.worlds() == {PEOPLE: 15}
    assert not exists(pid)
    assert not listens(port)
    with pytest.raises(EltAssetsError, match="not running"):
        provider.worlds()
    provider.stop()


def test_it_is_stopped_when_an_error_leaves_the_context() -> None:
    provider = ProviderProcess(SMALL)
    pids = []

    def fail_inside() -> None:
        with provider:
            pids.append(provider.pid)
            raise LookupError

    with pytest.raises(LookupError):
        fail_inside()
    assert not exists(pids[0])


def test_it_is_killed_if_it_ignores_sigterm() -> None:
    with ProviderProcess(SMALL) as provider:
        pid = provider.pid
        os.kill(pid, signal.SIGSTOP)
    assert not exists(pid)


def test_it_ends_when_its_parent_is_killed_though_the_parents_fork_lives_on() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", KILLED_PARENT], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent:
        pid, port, forked = map(int, parent.stdout.readline().split())
        try:
            while exists(pid):
                time.sleep(0.02)
            assert not listens(port)
        finally:
            os.kill(forked, signal.SIGKILL)
    assert parent.returncode == -signal.SIGKILL


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_its_token_is_in_no_process_list() -> None:
    with ProviderProcess(SMALL, token="a-secret-to-look-for") as provider:
        for part in ("cmdline", "environ"):
            assert b"a-secret" not in Path(f"/proc/{provider.pid}/{part}").read_bytes()
        assert provider.worlds()


def test_restarted_on_the_same_port_it_serves_the_same_people_and_its_old_cursors() -> None:
    with ProviderProcess(SMALL, token="same") as provider:
        port = provider.port
        provider.advance()
        truth = provider.truth(PEOPLE)
        first = read_page(provider, PEOPLE, limit=10)
    later = DemoLayout(integrations=1, users=15, round=2)
    with ProviderProcess(later, token="same", port=port) as provider:
        assert provider.port == port
        assert provider.truth(PEOPLE) == truth == read_truth(provider, PEOPLE)
        second = read_page(provider, PEOPLE, limit=10, cursor=first["next"])
        seen = [record["id"] for record in first["items"] + second["items"]]
        assert seen == [user["external_id"] for user in truth]


def test_a_port_in_use_is_one_clear_line_and_leaves_no_process() -> None:
    with ProviderProcess(SMALL) as provider:
        second = ProviderProcess(SMALL, port=provider.port)
        with pytest.raises(InvalidInput, match=f"embedded provider: port {provider.port}"):
            second.start()
        with pytest.raises(EltAssetsError, match="not running"):
            _ = second.pid


def test_ctrl_c_in_the_terminal_does_not_reach_it() -> None:
    with ProviderProcess(SMALL) as provider:
        assert os.getsid(provider.pid) != os.getsid(0)


def test_it_does_not_start_twice() -> None:
    with ProviderProcess(SMALL) as provider:
        pid = provider.pid
        with pytest.raises(EltAssetsError, match="running already"):
            provider.start()
        assert provider.pid == pid
        assert provider.worlds()


def test_a_request_to_a_killed_provider_names_it() -> None:
    with ProviderProcess(SMALL) as provider:
        os.kill(provider.pid, signal.SIGKILL)
        while exists(provider.pid):
            time.sleep(0.02)
        with pytest.raises(EltAssetsError, match=f"no answer from {provider.url}"):
            provider.advance()


def test_each_process_gets_a_token_of_its_own() -> None:
    tokens = {ProviderProcess(SMALL).token for _ in range(10)}
    assert len(tokens) == 10
    assert min(map(len, tokens)) >= 32
