"""The process of the embedded provider: input on standard input, the URL on standard output."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import msgspec

from elt_assets.demo.process import Orders, Started
from elt_assets.demo.serving.provider_server import Application, build_app, serve
from elt_assets.errors import InvalidInput

_LOOK_EVERY = 0.2


def main(application: Application = build_app) -> int:
    """Serve until a signal or the end of the parent process; return the exit status."""
    orders = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    threading.Thread(target=_end_with, args=(orders.parent,), daemon=True).start()
    try:
        serve(
            orders.layout,
            token=orders.token,
            port=orders.port,
            ready=lambda url: _answer(Started(url=url)),
            application=application,
        )
    except InvalidInput as error:
        _answer(Started(error=str(error)))
        return 1
    return 0


def _answer(started: Started) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(started) + b"\n")
    sys.stdout.buffer.flush()


def _end_with(parent: int) -> None:
    """End this process when the parent has ended, even if it was killed.

    A closed pipe would not do, because any process that the parent forked keeps it open; Linux's
    death signal follows the parent's thread, not the parent.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
