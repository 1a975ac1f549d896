"""Processes that save on demand, and can be killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import mlflow
from kedro.io import DatasetError

from kedro_mlflow_metrics import MlflowMetricsDataSet, process
from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.project.binding import Binding
from kedro_mlflow_metrics.project.context import Project, RunRequest
from kedro_mlflow_metrics.project.settings import read_settings
from kedro_mlflow_metrics.runs import lifetime
from kedro_mlflow_metrics.runs.choose import Chooser
from kedro_mlflow_metrics.tracking.address import Server

# Returns a dataset to save to, and what is to be done at the end.
Begin = Callable[[], tuple[MlflowMetricsDataSet, Callable[[], object]]]


class Saver:
    """A process of its own."""

    _ends: ClassVar[set[int]] = set()  # of pipes to all of them: a process that is forked later must not hold them

    def __init__(self, begin: Begin, cwd: str) -> None:
        ours, self._orders = os.pipe()
        self._answers, theirs = os.pipe()
        self._ends |= {self._orders, self._answers}
        self.pid = os.fork()
        if not self.pid:
            for end in self._ends:
                os.close(end)
            try:
                os.chdir(cwd)
                self._serve(begin, ours, theirs)
            finally:
                os._exit(0)
        os.close(ours)
        os.close(theirs)
        assert self._answer() == "ok"

    @staticmethod
    def _serve(begin: Begin, orders: int, answers: int) -> None:
        dataset, end = begin()
        os.write(answers, b"ok\n")
        for line in os.fdopen(orders):
            try:
                order = json.loads(line)
                dataset.save(iter([{"k": order["points"]}]) if order["flush"] else {"k": order["points"]})
                answer = b"ok\n"
            except DatasetError as exc:
                answer = str(exc).replace("\n", "<newline>").encode() + b"\n"
            os.write(answers, answer)
        end()
        process._finish()

    def _answer(self) -> str:
        answer = b""
        while not answer.endswith(b"\n"):
            more = os.read(self._answers, 4096)
            assert more, "the process died"
            answer += more
        return answer.decode().strip()

    def save(self, points: list[dict], *, flush: bool) -> str:
        os.write(self._orders, json.dumps({"points": points, "flush": flush}).encode() + b"\n")
        return self._answer()

    def end(self, *, kill: bool) -> None:
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        os.close(self._orders)
        os.waitpid(self.pid, 0)
        os.close(self._answers)
        self._ends -= {self._orders, self._answers}


def into(run_id: str, uri: str) -> Begin:
    """Save into a run outside a pipeline."""

    def begin() -> tuple[MlflowMetricsDataSet, Callable[[], object]]:
        mlflow.set_tracking_uri(uri)
        return MlflowMetricsDataSet(prefix="", run_id=run_id), lambda: None

    return begin


def session(uri: str, experiment: str, cwd: str, **parameters: str) -> Begin:
    """Do what the hook does around a pipeline."""

    def begin() -> tuple[MlflowMetricsDataSet, Callable[[], object]]:
        about = Binding(given="", server=Server(uri, 2.0), journal=Journal(cwd), experiment=experiment)
        project, request = Project(Path(cwd), "p", "", {}), RunRequest(("p",), {}, parameters, "", "")
        settings = read_settings({}, {})
        chosen = Chooser(project, about, settings, request, saves=True).choose()
        run = lifetime.OpenRun(object(), chosen, [], ())
        lifetime._begin(run, settings)
        dataset = MlflowMetricsDataSet(prefix="")
        dataset.bind(replace(about, target=chosen.target))
        return dataset, lambda: lifetime.finish(run, "FINISHED")

    return begin
