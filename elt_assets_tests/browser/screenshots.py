"""Take the pictures of docs/ui.md: `python -m elt_assets_tests.browser.screenshots docs/`.

They show an installation in trouble, as `night` makes it, and one with sign-in events.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import ViewportSize

from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.browser.night import (
    CUT_SHORT,
    IN_THE_REPORT,
    LEAVERS,
    REVOKED,
    SLOW,
    TROUBLED,
    Night,
    environment,
    night,
    web_ui,
)
from elt_assets_tests.browser.screen import Screen, chromium, screen

HEALTHY = 34
BUSY = IntegrationRef("customer-00", "directory")
DAYS = 10
QUARANTINED = "nothing_is_quarantined"
TALL = ViewportSize(width=1400, height=1150)
_COLOURS = 128
_WIDTH = 1200


@dataclass(frozen=True)
class Album:
    """The folder of the pictures."""

    folder: Path

    def take(self, duty: Screen, name: str) -> None:
        """Save the page as it is once it loads nothing more, as a small file."""
        duty.page.wait_for_load_state("networkidle")
        taken = Image.open(io.BytesIO(duty.page.screenshot(animations="disabled")))
        height = taken.height * _WIDTH // taken.width
        small = taken.convert("RGB").resize((_WIDTH, height), Image.Resampling.LANCZOS)
        file = self.folder / f"ui-{name}.png"
        small.quantize(_COLOURS, Image.Quantize.FASTOCTREE).save(file, optimize=True)
        print(f"{file}: {file.stat().st_size:,} bytes")


def take_night(tonight: Night, album: Album) -> None:
    """The pictures of users, while one integration is still being fetched."""
    tonight.plant()
    renamed = {number: {"profile": {"displayName": "New name"}} for number in range(5, 9)}
    tonight.provider.edit(BUSY, remove=[2, 3], change=renamed, add=3)
    with screen(tonight.url) as duty:
        duty.materialize_everything()
        duty.run_in_progress()
        run = duty.page.url
        duty.page.get_by_placeholder("Filter").last.fill("under way")
        duty.text(f"ended: {HEALTHY + len(TROUBLED) - 1}; failed so far").wait_for()
        album.take(duty, "run")
        for ref, words in IN_THE_REPORT.items():
            report = duty.report_saying(ref, words)
        report.get_by_role("heading", name="Failures").evaluate("it => it.scrollIntoView()")
        album.take(duty, "report")
        # A failure is on the page of its partition once the run has ended.
        tonight.provider.lift_chaos(SLOW)
        duty.page.goto(run)
        duty.page.get_by_text("Failure", exact=True).first.wait_for()
        duty.page.set_viewport_size(TALL)
        for name, table, ref, words in (
            ("failed", "users_latest", REVOKED, "401 Unauthorized"),
            ("quarantine", "users_latest", LEAVERS, "wait for a decision"),
            ("changes", "users_cdc", BUSY, "UPDATE"),
            ("certificate", "users_staging", CUT_SHORT, "the provider counts"),
        ):
            duty.page.goto(f"{duty.url}/assets/{table}?view=partitions&partition={ref}")
            duty.text(words).wait_for()
            album.take(duty, name)
        duty.page.goto(f"{duty.url}/assets/users_latest?view=overview")
        duty.text("Columns").wait_for()
        album.take(duty, "latest")
        subprocess.run(
            [sys.executable, "-m", "elt_assets", "start", "standing_checks", "--url", tonight.url],
            env=environment(tonight.settings.home),
            check=True,
        )
        duty.page.goto(f"{duty.url}/assets/users_audit?view=checks&checkDetail={QUARANTINED}")
        duty.text("offending").wait_for()
        album.take(duty, "checks")


def take_events(folder: Path, album: Album) -> None:
    """The picture of sign-in events, after the demo of them."""
    home = folder / "home"
    today = datetime.now(UTC).date()
    os.environ["ELT_ASSETS_EVENTS_START"] = str(today - timedelta(days=DAYS))
    subprocess.run(
        [sys.executable, "-m", "elt_assets", "demo", "events", "--days", str(DAYS)],
        env=environment(home),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    # The provider of the demo has ended, so that a day can no longer be fetched from its API.
    day = str(today - timedelta(days=DAYS // 2))
    command = [sys.executable, "-m", "elt_assets", "events", "load", "--from", day, "--to", day]
    failed = subprocess.run(command, env=environment(home), check=False, capture_output=True)
    assert failed.returncode == 1, failed
    with web_ui(folder, home) as url, screen(url) as duty:
        duty.page.goto(f"{url}/assets/api_events?view=partitions&partition={day}")
        duty.text("Failed (1)").wait_for()
        album.take(duty, "events")
        duty.page.goto(
            f"{url}/locations/__repository__@elt_assets.definitions/asset-groups/signin_events/lineage"
        )
        duty.text("% filled").wait_for()
        album.take(duty, "events-graph")


def main(arguments: list[str]) -> int:
    """Take every picture; 2 for wrong arguments or without a browser."""
    if len(arguments) != 1 or chromium() is None:
        print(__doc__ if chromium() else "chromium is not installed (.ci/install-servers)")
        return 2
    album = Album(Path(arguments[0]))
    album.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, night(Path(folder), HEALTHY) as tonight:
        take_night(tonight, album)
    with TemporaryDirectory() as folder:
        take_events(Path(folder), album)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
