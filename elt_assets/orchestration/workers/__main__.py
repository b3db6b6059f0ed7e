"""One worker process: `python -m elt_assets.orchestration.workers SLOTS NAME QUEUE…`.

`elt-assets worker` starts it after checking the settings, and stops it.
"""

from __future__ import annotations

import sys
from importlib import import_module

from celery.signals import setup_logging

from elt_assets.config.settings import load_settings
from elt_assets.orchestration.workers.celery_app import worker_app
from elt_assets.telemetry import logs


def main(slots: str, name: str, *queues: str) -> None:
    """Carry out runs until the process is stopped."""
    settings = load_settings()
    # Celery would log everything a second time, with secrets.
    setup_logging.connect(_nothing, weak=False)
    logs.configure(
        settings.log_format or "console",
        settings.log_level,
        packages=(logs.PACKAGE, "celery", "kombu"),
    )
    # Imported before the first fork, so that no run waits seconds for imports.
    import_module("elt_assets.definitions")
    worker_app().worker_main(
        [
            "--quiet",
            "worker",
            f"--concurrency={slots}",
            f"--hostname={name}@%h",
            f"--queues={','.join(queues)}",
            "--without-gossip",
            "--without-mingle",
        ]
    )


def _nothing(**_: object) -> None:
    """With a receiver of this signal, Celery sets up no logs."""


if __name__ == "__main__":
    main(*sys.argv[1:])
