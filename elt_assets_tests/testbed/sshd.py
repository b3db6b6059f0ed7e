"""A real OpenSSH server for tests: Debian's sshd on loopback, that offers SFTP alone."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elt_assets_tests.testbed.servers import free_port, wait_until_it_listens

_CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""


@dataclass(frozen=True)
class SshServer:
    """A running server, and the folder whose files it offers."""

    port: int
    drops: Path
    key: Path
    host_key: str

    def remote(self, **differing: Any) -> dict[str, Any]:
        """The part of provider_data that names it."""
        return {
            "url": f"sftp://127.0.0.1:{self.port}{self.drops}",
            "user": getpass.getuser(),
            "key": {"file": str(self.key)},
            "host_keys": [self.host_key],
            **differing,
        }


@contextmanager
def sshd(folder: Path) -> Iterator[SshServer]:
    """An OpenSSH server of this machine; skips the test where there is none."""
    program = shutil.which("sshd", path="/usr/sbin")
    if program is None:
        pytest.skip("sshd is not installed; .ci/install-servers installs it")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name]
        subprocess.run(command, check=True)
    # Where it separates privileges; a service of the machine would make it.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    drops = folder / "drops"
    drops.mkdir()
    server = SshServer(free_port(), drops, folder / "user", (folder / "host.pub").read_text())
    configuration = folder / "sshd_config"
    configuration.write_text(_CONFIGURATION.format(port=server.port, folder=folder))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", configuration], stderr=log)
        try:
            wait_until_it_listens(process, folder, server.port)
            yield server
        finally:
            process.terminate()
            process.wait()
