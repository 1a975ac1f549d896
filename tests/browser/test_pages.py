"""Where the links that users get land on MLflow's pages, seen in a real browser. See ``make test-browser``."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytest.importorskip("playwright", reason="playwright is not installed here: make test-browser")

from support.browser import CHARTS, browser_page


@pytest.fixture
def page():
    with browser_page() as found:
        yield found


@pytest.fixture
def ui(simple):
    """Start ``kedro metrics ui`` on the project's store, and return its link."""
    processes = []

    def start(*run):
        command = [sys.executable, "-m", "kedro_mlflow_metrics", "ui", *run, "--no-browser"]
        processes.append(subprocess.Popen(command, cwd=simple.root, stdout=subprocess.PIPE, text=True))
        return processes[-1].stdout.readline().strip()

    yield start
    for process in processes:
        process.terminate()
        process.wait()


def test_the_link_at_the_end_of_a_run(simple, server, page):
    """It opens the charts of that run."""
    uri, store = server
    out = simple.kedro("run", env={"MLFLOW_TRACKING_URI": uri}).stdout
    page.goto(re.search(r"See the charts: (\S+)", out)[1])
    page.locator(CHARTS).first.wait_for()
    assert page.get_by_text("m.a", exact=True).first.is_visible()
    assert page.get_by_text(store.runs[-1]["name"]).first.is_visible()


def test_the_runs_of_a_local_store(simple, ui, page):
    """`kedro metrics ui` lands at the list of runs, where they can be told apart."""
    simple.kedro("run")
    simple.kedro("run", "--pipeline", "breaks", fails=True)
    page.goto(ui())
    for run in simple.store.runs:
        row = page.get_by_role("link", name=run["name"])
        row.wait_for()


@pytest.mark.parametrize("separator", [".", "/"])
def test_the_charts_of_a_local_store(simple, ui, page, separator):
    """`kedro metrics ui latest` shows the newest run; with `/` each dataset is a section of its own."""
    simple.settings(f"separator: {separator}\n")
    simple.kedro("run")
    page.goto(ui("latest"))
    page.locator(CHARTS).first.wait_for()
    headers = page.locator("[data-testid=experiment-view-compare-runs-section-header]").all_inner_texts()
    assert any(re.match(r"m\b", header) for header in headers) == (separator == "/")
