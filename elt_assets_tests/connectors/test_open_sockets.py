"""Closing a client ends whatever waits on its connections, encrypted or not."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from urllib3.exceptions import HTTPError

from elt_assets.connectors.open_sockets import OpenSockets, pool_of
from elt_assets_tests.test_alerts import own_certificate


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_closing_ends_a_request_that_nobody_answers(tmp_path: Path, scheme: str) -> None:
    certificate = own_certificate(tmp_path)
    sockets = OpenSockets()
    pool = pool_of(sockets, retries=False, timeout=20, ca_certs=str(certificate))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            taken, _ = listening.accept()
            if scheme == "https":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                taken = context.wrap_socket(taken, server_side=True)
            with taken:
                taken.recv(65_536)  # the request, which is not going to be answered
                sockets.close()
                taken.recv(65_536)  # until the other side is gone

        serving = threading.Thread(target=accept)
        serving.start()
        address = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(HTTPError) as ended:
            pool.request("GET", address)
        assert "timed out" not in str(ended.value)
        serving.join()


def test_what_is_opened_after_closing_is_of_no_use() -> None:
    sockets = OpenSockets()
    sockets.close()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pool = pool_of(sockets, retries=False, timeout=20)
        with pytest.raises(HTTPError) as ended:
            pool.request("GET", f"http://127.0.0.1:{listening.getsockname()[1]}/")
        assert "timed out" not in str(ended.value)
