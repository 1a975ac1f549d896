"""A real browser, for what is promised of MLflow's pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")
CHARTS = ".js-plotly-plot svg.main-svg"  # what a drawn chart of MLflow's is


@contextmanager
def browser_page(width: int = 1400, height: int = 900) -> Iterator[Page]:
    """Lend a page of the machine's Chromium, without a window."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    assert chromium, "there is no Chromium; on Debian or Ubuntu: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1)
        page.set_default_timeout(120_000)
        yield page
        browser.close()
