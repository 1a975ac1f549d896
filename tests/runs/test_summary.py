"""The table with which ``kedro run`` ends on a terminal."""

from __future__ import annotations

import re
import sys

import pytest
from support.project import BIN
from support.proxy import Proxy
from support.terminal import on_a_terminal

PIPELINE = """
from kedro.pipeline import node, pipeline

def losses():
    for epoch in range(300):
        yield {"loss": (epoch - 150) ** 2 + BIAS}

BIAS = float(open("bias").read())

def register_pipelines():
    curve = pipeline([node(losses, None, "m"), node(lambda: {"acc": BIAS / 8, "share": BIAS / 8}, None, "n")])
    return {"__default__": curve, "other": pipeline([node(lambda: {"acc": 0.125}, None, "n")])}
"""
CATALOG = """
m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
n: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, filepath: kf.json, save_args: {kubeflow: {percentage: share}}}
"""


@pytest.fixture
def run(project):
    """Run the pipelines on a terminal; return the rows of the table, and all that was shown."""
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)

    def run(bias, *arguments, **env):
        (project.root / "bias").write_text(str(bias))
        command = [BIN / "kedro", "run", *arguments]
        shown = on_a_terminal(command, out=True, cwd=project.root, env={**project.environment(env), **env})
        plain = re.sub(r"\x1b\[[\d;]*m", "", shown).replace("\r\n", "\n")
        return [line.split() for line in plain.splitlines() if re.match(r" [mn]\.", line)], plain

    return run


def test_what_a_run_has_logged(run):
    """Last values, what became of them since the run before of the same pipeline, and curves of this process."""
    rows, shown = run(4)
    assert re.fullmatch("█[▂-▇]+▁+[▂-▇]+█", rows[0].pop())
    assert rows == [["m.loss", "22205"], ["n.acc", "0.5"], ["n.share", "50.000%"]]
    assert shown.rstrip().splitlines()[-1] == "See the charts: kedro metrics ui"
    rows, _ = run(1, "--pipeline", "other")
    assert rows == [["n.acc", "0.125"]]
    rows, _ = run(5)
    assert rows[0][:3] == ["m.loss", "22206", "+1"]
    assert rows[1:] == [["n.acc", "0.625", "+0.125"], ["n.share", "62.500%", "+12.500", "pp"]]


def test_a_terminal_that_knows_no_bars(run):
    """It shows question marks; the run is as good as any."""
    rows, _ = run(4, PYTHONIOENCODING="latin-1")  # rich draws lines of ASCII there
    rows = [[cell for cell in row if cell != "|"] for row in rows]
    assert rows == [["m.loss", "22205", "?" * 12], ["n.acc", "0.5"], ["n.share", "50.000%"]]


def test_switched_off(run, project):
    """By the setting; and where nobody looks there is none."""
    project.settings("summary: false\n")
    rows, shown = run(4)
    assert rows == [] and "See the charts" in shown
    project.settings("")
    assert "n.share" not in project.kedro("run").stdout


def test_two_requests(run, project, server):
    """One for the run's own metrics, one for the run before; through workers too, whose curves are not known here."""
    uri, _ = server
    run(4, MLFLOW_TRACKING_URI=uri)
    proxies = [Proxy(uri), Proxy(uri)]
    run(5, MLFLOW_TRACKING_URI=proxies[0].uri)
    project.settings("summary: false\n")
    run(6, MLFLOW_TRACKING_URI=proxies[1].uri)
    for proxy in proxies:
        proxy.close()
    reads = [[path for path, *_ in proxy.seen if re.search(r"runs/(get|search)", path)] for proxy in proxies]
    assert len(reads[0]) == len(reads[1]) + 2


def test_a_run_that_fails_or_logs_nothing(run, project):
    """It ends as before, without a table."""
    project.pipeline(
        PIPELINE.replace("return {", "raise_ = lambda: 1 / 0\n    return {").replace('{"acc": 0.125}', "1 / 0")
    )
    command = [sys.executable, "-c", "import sys, subprocess; subprocess.run(sys.argv[1:])", BIN / "kedro", "run"]
    (project.root / "bias").write_text("1")
    shown = on_a_terminal([*command, "--pipeline", "other"], out=True, cwd=project.root, env=project.environment(None))
    assert "mlflow_run_id=" in shown and "metric" not in shown.splitlines()[-1]
