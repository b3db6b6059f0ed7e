"""Chromium in front of Dagster's web UI, with a count of clicks since the first page."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, sync_playwright

from elt_assets.identifiers import IntegrationRef

SIZE = {"width": 1400, "height": 950}
RUN_ID = re.compile(r"^[0-9a-f]{8}$")


def chromium() -> str | None:
    """Debian's browser, which `.ci/install-servers` installs; None where there is none."""
    return shutil.which("chromium")


@dataclass
class Screen:
    """The page that a person looks at."""

    page: Page
    url: str
    clicks: int = 0

    def begin(self) -> None:
        """Open the first page; clicks are counted from here."""
        self.page.goto(self.url)
        self.clicks = 0

    def click(self, target: Locator) -> None:
        """One click, once there is something to click on."""
        target.click()
        self.clicks += 1

    def menu(self, name: str) -> None:
        """Click on an entry of the navigation."""
        self.click(self.page.get_by_text(name, exact=True).first)

    def button(self, name: str) -> Locator:
        """A button by a part of its text."""
        return self.page.get_by_role("button", name=name).last

    def text(self, words: str) -> Locator:
        """The newest place with these words."""
        return self.page.get_by_text(words).last

    def job(self, name: str) -> None:
        """Open the page of a job."""
        self.begin()
        self.menu("Jobs")
        self.click(self.page.get_by_text(name, exact=True))

    def fleet_report(self) -> Locator:
        """Open the report; the dialog with its page."""
        self.begin()
        self.menu("Catalog")
        self.click(self.page.get_by_text("fleet_report", exact=True).first)
        self.click(self.page.get_by_text("Show Markdown").first)
        return self.page.get_by_role("dialog")

    def report_saying(self, ref: IntegrationRef, words: str) -> Locator:
        """Open the report again and again until a row about `ref` has these words; its dialog."""
        while True:
            dialog = self.fleet_report()
            dialog.get_by_role("heading", name="Largest").wait_for()
            if dialog.get_by_role("row").filter(has_text=str(ref)).filter(has_text=words).count():
                return dialog

    def materialize_everything(self) -> None:
        """Sync the users of all integrations."""
        self.job("sync")
        self.click(self.button("Materialize all"))
        self.click(self.page.get_by_role("dialog").get_by_text("All", exact=True))
        self.click(self.button("Launch backfill"))

    def run_in_progress(self) -> None:
        """Open the run that works."""
        self.begin()
        self.menu("Runs")
        self.click(self.page.get_by_text("In progress"))
        self.click(self.page.locator('a[href^="/runs/"]').filter(has_text=RUN_ID).first)


@contextmanager
def screen(url: str) -> Iterator[Screen]:
    """A new browser at `url`; it waits for whatever it is to click on."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": SIZE["width"], "height": SIZE["height"]})
        page.set_default_timeout(0)
        yield Screen(page, url)
        browser.close()
