"""Closing a client ends whatever waits on its connections, encrypted or not."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from elt_assets.connectors.http.exchange import HttpConnections, Message
from elt_assets.connectors.http.outgoing import Outgoing
from elt_assets.errors import ProviderUnavailable
from elt_assets_tests.orchestration.alerts.test_alerts import own_certificate


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_closing_ends_a_request_that_nobody_answers(tmp_path: Path, scheme: str) -> None:
    certificate = own_certificate(tmp_path)
    wire = HttpConnections(connections=1, outgoing=Outgoing(), ca_certs=str(certificate))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            taken, _ = listening.accept()
            if scheme == "https":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                taken = context.wrap_socket(taken, server_side=True)
            with taken:
                taken.recv(65_536)  # the request, which is not going to be answered
                wire.close()
                taken.recv(65_536)  # until the other side is gone

        serving = threading.Thread(target=accept)
        serving.start()
        address = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(ProviderUnavailable, match="cut short"):
            wire.exchange(Message("page 1", address, {}), 20, 100, wanted=bool)
        serving.join()


def test_what_is_opened_after_closing_is_of_no_use() -> None:
    wire = HttpConnections(connections=1, outgoing=Outgoing())
    wire.close()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(ProviderUnavailable, match="cut short"):
            wire.exchange(Message("page 1", address, {}), 20, 100, wanted=bool)
