"""The raw connection under an answer, for answers that no well-behaved server would give."""

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
    """Uvicorn's protocol, with the transport in the scope of every request."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"is": self.transport}}


@dataclass(frozen=True, slots=True)
class Wire:
    """The connection of a request. A handler that writes to it awaits `gone` at the end."""

    transport: asyncio.Transport
    receive: Receive

    @classmethod
    def under(cls, scope: Scope, receive: Receive) -> Wire:
        """The connection of this request."""
        return cls(scope["extensions"][_TRANSPORT]["is"], receive)

    async def write(self, data: bytes) -> bool:
        """Send bytes as they are; False when nobody is there any more."""
        if self.transport.is_closing():
            return False
        self.transport.write(data)
        # One turn of the loop, so that a client that went away is noticed.
        await asyncio.sleep(0)
        return not self.transport.is_closing()

    async def wait(self, seconds: float) -> bool:
        """Let time pass; False as soon as the client has gone."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.gone(), seconds)
        return not self.transport.is_closing()

    def close(self) -> None:
        """End the connection in order, after what was written."""
        self.transport.close()

    async def reset(self) -> None:
        """Break the connection off, as a crashed peer or a firewall does."""
        await asyncio.sleep(0.01)
        descriptor = self.transport.get_extra_info("socket").fileno()
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    async def gone(self) -> None:
        """Return once the connection has ended."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
