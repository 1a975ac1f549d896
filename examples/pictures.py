"""Draw the pictures of the docs, with `make pictures`: run the example, and look at it as a user would."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
HERE = ROOT / "docs/pictures"
BIN = Path(sys.executable).parent
if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

sys.path.insert(0, str(ROOT / "tests"))

from support.browser import CHARTS, browser_page  # noqa: E402 - it stands beside the tests
from support.notebook import BEGIN, page_of  # noqa: E402
from support.project import demo  # noqa: E402
from support.viz import kedro_viz  # noqa: E402


def terminal(command: list[object], folder: Path, columns: int) -> str:
    """Run a command on a terminal and return what it showed, colours too."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    if process.wait():
        sys.exit(shown.decode())
    return shown.decode().replace("\r\n", "\n")


def draw(name: str, title: str, shown: str, columns: int) -> None:
    """Draw what a terminal shows."""
    lines = [line.rstrip() for line in shown.rstrip().split("\n")]
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
    console.save_svg(str(HERE / name), title=title)


def table(shown: str) -> str:
    """Return the lines from the head of a table on, without Kedro's log before it."""
    lines = shown.split("\n")
    line = next(at for at, text in enumerate(lines) if "───" in text)
    first = next(at for at in range(line, -1, -1) if at == 0 or "\x1b[1m" not in lines[at - 1])
    return "\n".join(lines[min(first, line - 1) :])


@contextmanager
def pages(project: Path, *run: str) -> Iterator[str]:
    """Lend the link that ``kedro metrics ui`` prints."""
    command = [sys.executable, "-m", "kedro_mlflow_metrics", "ui", *run, "--no-browser", "--port", "5017"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def show(page: Page, link: str, what: str) -> None:
    """Open a link and wait for something on the page; close what MLflow opens beside it."""
    page.goto(link)
    page.locator(what).first.wait_for()
    page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    page.wait_for_timeout(3000)


def show_in_viz(project: Path) -> None:
    """Picture what Kedro-Viz shows of a training, and of single values."""
    with kedro_viz(project) as (address, nodes), browser_page(1200, 800) as page:
        page.goto(address)
        page.evaluate("localStorage.setItem('KedroViz_feature_hints', JSON.stringify({showFeatureHints: false}))")
        for name, picture in (("training_metrics", "viz.png"), ("test_metrics", "viz-table.png")):
            for _ in range(20):  # until MLflow is loaded there
                page.goto(f"{address}/?pid=__default__&sid={nodes[name]}")
                page.locator(".pipeline-metadata .js-plotly-plot").wait_for()
                page.wait_for_timeout(3000)
                if not page.get_by_text("There is no answer yet").count():
                    break
            close = page.locator(".feature-hints__close, [class*=feature-hints] button").first
            if close.count():
                close.click()
            page.wait_for_timeout(8000)  # what Kedro-Viz says of its hints goes away
            page.screenshot(path=HERE / picture)


def show_elsewhere(project: Path) -> None:
    """Picture a page of curves, and a notebook."""
    terminal([BIN / "kedro", "metrics", "plot", "latest~1", "latest", "-o", "curves.html"], project, 100)
    cells = [BEGIN, 'catalog["training_metrics"]']
    cells.append('from kedro_mlflow_metrics import compare\n\ncompare("latest~1", "latest", higher=["*accuracy"])')
    (project / "notebook.html").write_text(page_of(cells, project))
    for page_name, picture, height in (("curves.html", "page.png", 380), ("notebook.html", "notebook.png", 760)):
        with browser_page(1200, height) as page:
            page.goto((project / page_name).as_uri())
            page.wait_for_timeout(3000)
            page.screenshot(path=HERE / picture)


def run_example(folder: str, separator: str, name: str) -> tuple[Path, str]:
    """Run the example in a folder of its own; return that, and what the terminal showed."""
    project = demo(Path(folder, name))
    with (project / "conf/base/kedro_mlflow_metrics.yml").open("a") as settings:
        settings.write(f'separator: "{separator}"\n')
    return project, terminal([BIN / "kedro", "run"], project, 100)


def main() -> None:
    """Run the example with both separators, and draw what the terminal and MLflow's pages show."""
    with tempfile.TemporaryDirectory() as folder:
        slash, _ = run_example(folder, "/", "slash")
        with pages(slash, "latest") as link, browser_page(1200, 640) as page:
            show(page, link, CHARTS)
            page.screenshot(path=HERE / "charts-slash.png")
        dot, shown = run_example(folder, ".", "dot")
        draw("run.svg", "kedro run", table(shown), 100)
        terminal([BIN / "kedro", "run", "--params", "network.epochs=40,network.hidden_units=64"], dot, 100)
        shown = terminal([BIN / "kedro", "run", "--params", "network.epochs=30"], dot, 100)
        draw("summary.svg", "kedro run", table(shown), 100)
        metrics = [BIN / "python", "-m", "kedro_mlflow_metrics"]
        runs = terminal([*metrics, "runs", "--sort", "test.accuracy"], dot, 100)
        compared = terminal([*metrics, "compare", "--changed"], dot, 100)
        prompts = "$ kedro metrics runs --sort test.accuracy\n", "\n$ kedro metrics compare --changed\n"
        draw("views.svg", "kedro metrics", f"{prompts[0]}{table(runs)}{prompts[1]}{table(compared)}", 100)
        plotted = terminal([*metrics, "plot", "latest~1", "latest", "--only", "training_metrics.loss"], dot, 100)
        draw("plot.svg", "kedro metrics plot", plotted[plotted.index("━") - 5 :], 100)
        show_elsewhere(dot)
        show_in_viz(dot)
        with pages(dot, "latest") as link, browser_page(1200, 640) as page:
            show(page, link, CHARTS)
            page.screenshot(path=HERE / "charts-dot.png")
            page.get_by_placeholder("Search metric charts").fill("training_metrics.loss")
            page.wait_for_timeout(3000)
            page.locator("[data-testid=experiment-view-compare-runs-card]").first.screenshot(path=HERE / "curve.png")
        for pipeline in ("network", "forests"):
            terminal([BIN / "kedro", "run", "--pipelines", pipeline], dot, 100)
        with pages(dot) as link, browser_page(1200, 480) as page:
            show(page, link, "text=network 20")
            page.screenshot(path=HERE / "runs.png")


if __name__ == "__main__":
    main()
