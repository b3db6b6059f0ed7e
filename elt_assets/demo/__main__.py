"""The embedded provider's process: orders on standard input, the URL on standard output.

People start it with `elt-assets provider` instead.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import msgspec

from elt_assets.demo.process import Orders, Started
from elt_assets.demo.server import serve
from elt_assets.errors import InvalidInput

_LOOK_EVERY = 0.2


def main() -> int:
    """Serve until told to end or the parent is gone; returns the exit status."""
    orders = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    threading.Thread(target=_end_with, args=(orders.parent,), daemon=True).start()
    try:
        serve(
            orders.layout,
            token=orders.token,
            port=orders.port,
            ready=lambda url: _answer(Started(url=url)),
        )
    except InvalidInput as error:
        _answer(Started(error=str(error)))
        return 1
    return 0


def _answer(started: Started) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(started) + b"\n")
    sys.stdout.buffer.flush()


def _end_with(parent: int) -> None:
    """End when the parent is gone, even if it was killed.

    A pipe that closes would tell sooner, but stays open in any process the parent forked;
    Linux's death signal comes when the parent's thread ends, not the parent.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
