"""Curves and tables as a browser shows them: in Kedro-Viz, on a page that opens offline, in a notebook."""

from __future__ import annotations

import json
import subprocess

import pytest

pytest.importorskip("playwright", reason="playwright is not installed here: make test-browser")

from support.browser import browser_page
from support.notebook import BEGIN, page_of
from support.viz import KEDRO, environment, kedro_viz

CATALOG = """
training:
  type: kedro_mlflow_metrics.MlflowMetricsDataSet
  metadata: {kedro-viz: {preview_args: {runs: 2}}}
scores: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
"""
PIPELINE = """
from kedro.pipeline import node, pipeline

def train():
    for epoch in range(20):
        yield {"loss": 1 / (epoch + 1), "accuracy": epoch / 20}

def register_pipelines():
    return {"__default__": pipeline([node(train, None, "training"), node(lambda: {"acc": 0.9375}, None, "scores")])}
"""
LINES = ".js-plotly-plot .scatterlayer path.js-line"


@pytest.fixture
def trained(project):
    """A project with two runs."""
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    for _ in range(2):
        project.kedro("run")
    return project


def test_kedro_viz(trained):
    """The panel of a dataset shows its curves, two runs of each, and expanded too; single values are a table."""
    with kedro_viz(trained.root) as (address, nodes), browser_page() as page:
        for _ in range(20):  # until MLflow is loaded there
            page.goto(f"{address}/?pid=__default__&sid={nodes['training']}")
            page.locator(".pipeline-metadata .js-plotly-plot").wait_for()
            page.wait_for_timeout(1500)
            if page.locator(f".pipeline-metadata {LINES}").count():
                break
        assert page.locator(f".pipeline-metadata {LINES}").count() == 4
        assert page.locator(".pipeline-metadata").get_by_text("loss", exact=True).count()
        page.get_by_text("Expand preview").click()
        page.locator(LINES).first.wait_for()
        page.wait_for_timeout(500)
        box = page.locator(".js-plotly-plot").last.bounding_box()
        assert box["width"] > 700 and page.locator(LINES).count() >= 4
        page.goto(f"{address}/?pid=__default__&sid={nodes['scores']}")
        page.locator(".pipeline-metadata .js-plotly-plot").get_by_text("0.9375").wait_for()


def test_kedro_viz_build(trained):
    """``--include-previews`` keeps the curves in the page that it builds."""
    command = [KEDRO, "viz", "build", "--include-previews"]
    subprocess.run(command, cwd=trained.root, env=environment(), check=True, timeout=180)
    built = [json.loads(path.read_text()).get("preview") for path in (trained.root / "build/api/nodes").iterdir()]
    (made,) = (each for each in built if each and each["data"][0]["type"] == "scatter")
    assert [len(trace["y"]) for trace in made["data"]] == [20] * 4


def test_a_page_that_opens_offline(trained, kedro):
    """Nothing is asked of the network, and all curves are drawn."""
    kedro.answer(trained.root, "plot", "latest~1", "latest", "-o", "curves.html")
    with browser_page() as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((trained.root / "curves.html").as_uri())
        page.locator(LINES).first.wait_for()
        assert page.locator(LINES).count() == 4
        assert len(asked) == 1  # the page itself
        assert page.get_by_text("training.loss", exact=True).count() == 1


def test_a_notebook(trained):
    """An entry and a comparison show themselves as tables."""
    cells = [BEGIN, 'catalog["training"]', "from kedro_mlflow_metrics import compare\ncompare()"]
    (trained.root / "notebook.html").write_text(page_of(cells, trained.root))
    with browser_page() as page:
        page.goto((trained.root / "notebook.html").as_uri())
        entry, comparison = (page.locator(".jp-OutputArea table").nth(at) for at in (0, 1))
        assert entry.locator("tbody tr").count() == 2 and "loss" in entry.inner_text()
        assert comparison.locator("thead th").count() == 5 and "training.loss" in comparison.inner_text()
