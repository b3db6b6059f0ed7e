"""The raw connection under an answer, for invalid answers."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TRANSPORT = "elt_assets.transport"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class OpenProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, with the transport in the scope of each request."""

    def on_message_begin(self) -> None:
        """Add the transport to the scope of a new request."""
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"is": self.transport}}


@dataclass(frozen=True, slots=True)
class Wire:
    """The connection of a request. A handler that writes to it must await `gone` at the end."""

    transport: asyncio.Transport
    receive: Receive

    @classmethod
    def under(cls, scope: Scope, receive: Receive) -> Wire:
        return cls(scope["extensions"][_TRANSPORT]["is"], receive)

    async def write(self, data: bytes) -> bool:
        """Send bytes; return False when the client has gone."""
        if self.transport.is_closing():
            return False
        self.transport.write(data)
        # One turn of the event loop, to notice a client that has gone.
        await asyncio.sleep(0)
        return not self.transport.is_closing()

    async def wait(self, seconds: float) -> bool:
        """Wait; return False as soon as the client has gone."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.gone(), seconds)
        return not self.transport.is_closing()

    def close(self) -> None:
        """Close the connection in order, after everything is sent."""
        self.transport.close()

    async def reset(self) -> None:
        """Reset the connection, as a crashed peer or a firewall does."""
        await asyncio.sleep(0.01)
        descriptor = self.transport.get_extra_info("socket").fileno()
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    async def gone(self) -> None:
        """Return once the connection has ended."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
