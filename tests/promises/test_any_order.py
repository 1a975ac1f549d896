"""Whatever comes in whatever order, in the end MLflow has what the saves accepted: no more, no less."""

from __future__ import annotations

import os
import sys
from collections import Counter
from uuid import uuid4

import mlflow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from kedro.io import DatasetError
from support.bench import until
from support.proxy import Proxy
from support.saver import Saver, into, session
from support.server import mlflow_server

from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.delivery import leftovers
from kedro_mlflow_metrics.journal import folder
from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.tracking.address import Server

FAULTS = ["refuse", "lose", "cut", "500", "404", "413", "redirect", "401"]
pytestmark = [pytest.mark.minutes, pytest.mark.skipif(sys.platform == "win32", reason="forks")]


def try_out(machine: type[RuleBasedStateMachine], proxy: Proxy, examples: int, steps: int) -> None:
    """Run a machine, as often as ``EXAMPLES`` says if that is set, and close the proxy that it plans."""
    quick = settings(
        max_examples=int(os.environ.get("EXAMPLES", examples)),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=quick)
    finally:
        proxy.close()


def test_any_order_of_events(tmp_path, empty_store):  # noqa: C901 - the machine needs the server around it
    """Saves, flushes, crashes, ends, outages, refusals, recoveries and syncs in any order."""
    with mlflow_server(tmp_path / "server", empty_store) as (server, store):
        proxy = Proxy(server.uri)
        client = mlflow.MlflowClient(server.uri)
        here, journal = Server(proxy.uri), Journal(str(tmp_path))

        class Machine(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.run_id = client.create_run("0").info.run_id
                self.accepted: Counter = Counter()
                self.perhaps: Counter = Counter()
                self.number = 0
                self.saver: Saver | None = None
                proxy.plan = lambda _path, _number: "pass"

            @initialize(fault=st.sampled_from(["pass", *FAULTS]), flush=st.booleans())
            def begins(self, fault, flush):
                self.fails(fault)
                self._save(1, flush)

            @rule(many=st.sampled_from([1, 1, 3, 1500]), flush=st.booleans(), again=st.integers(1, 3))
            def save(self, many, flush, again):
                for _ in range(again):
                    self._save(many, flush)

            def _save(self, many, flush):
                self.saver = self.saver or Saver(into(self.run_id, proxy.uri), str(tmp_path))
                numbers = range(self.number, self.number + many)
                self.number += many
                answer = self.saver.save([{"value": n, "step": n, "timestamp": 7} for n in numbers], flush=flush)
                if answer == "ok":
                    self.accepted.update(numbers)
                else:  # a refusal before this process has once succeeded; of an iterator what was yielded stays
                    assert "refused" in answer
                    self.perhaps.update(numbers if flush else ())

            @rule(fault=st.sampled_from(FAULTS))
            def fails(self, fault):
                proxy.plan = lambda _path, _number: fault

            @rule()
            def recovers(self):
                proxy.plan = lambda _path, _number: "pass"

            @rule(kill=st.booleans())
            def dies(self, kill):
                if self.saver is not None:
                    self.saver.end(kill=kill)
                    self.saver = None

            @rule()
            def sync(self):
                for _ in leftovers.deliver_all(here, journal):
                    pass

            def teardown(self):
                self.dies(kill=True)
                self.recovers()
                self.sync()
                rows = store.rows("SELECT step, value, timestamp FROM metrics WHERE run_uuid = ?", self.run_id)
                found = Counter(step for step, _, _ in rows)
                assert self.accepted <= found <= self.accepted + self.perhaps
                assert all(step == value and timestamp == 7 for step, value, timestamp in rows)
                assert not [each for each in leftovers.look(journal) if each.points or each.damaged]

        try_out(Machine, proxy, examples=20, steps=12)


STARTS = ["pass", "refuse", "lose", "cut", "500", "404"]


def test_any_order_of_lives(tmp_path, empty_store):  # noqa: C901 - the machine needs the server around it
    """The server comes late, the opener dies or ends, a joiner lives on: one run, exact points, a true status."""
    with mlflow_server(tmp_path / "server", empty_store) as (server, store):
        proxy = Proxy(server.uri)
        here, journal = Server(proxy.uri), Journal(str(tmp_path))

        class Machine(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.experiment = uuid4().hex
                self.accepted: Counter = Counter()
                self.perhaps: Counter = Counter()
                self.number = 0
                self.killed: bool | None = None
                self.passes = True
                self.opener: Saver | None = None
                self.joiner: Saver | None = None
                self.found = ""  # the run's status when the joiner joined, which it leaves as it is

            @property
            def runs(self):
                query = """SELECT run_uuid, status FROM runs r JOIN experiments e ON r.experiment_id = e.experiment_id
                    WHERE e.name = ? AND r.lifecycle_stage = 'active'"""
                return store.rows(query, self.experiment)

            def _begin(self, **parameters):
                return Saver(session(proxy.uri, self.experiment, str(tmp_path), **parameters), str(tmp_path))

            @initialize(fault=st.sampled_from(STARTS))
            def begins(self, fault):
                self.fails(fault)
                self.opener = self._begin()

            @precondition(lambda self: self.joiner is None and self.passes and self.runs)
            @rule()
            def joins(self):
                run_id, self.found = self.runs[0]
                self.joiner = self._begin(mlflow_run_id=run_id)

            @precondition(lambda self: self.opener or self.joiner)
            @rule(many=st.sampled_from([1, 3, 1500]), flush=st.booleans(), joiner=st.booleans())
            def save(self, many, flush, joiner):
                saver = self.joiner if joiner and self.joiner else self.opener or self.joiner
                numbers = range(self.number, self.number + many)
                self.number += many
                answer = saver.save([{"value": n, "step": n, "timestamp": 7} for n in numbers], flush=flush)
                assert answer == "ok"
                self.accepted.update(numbers)

            @rule(fault=st.sampled_from(FAULTS))
            def fails(self, fault):
                self.passes = fault == "pass"
                proxy.plan = lambda _path, _number: fault

            @rule(wait=st.booleans())
            def recovers(self, wait):
                self.fails("pass")
                if wait and self.opener:
                    until(lambda: self.runs)

            @precondition(lambda self: self.opener)
            @rule(kill=st.booleans())
            def the_opener_goes(self, kill):
                self.opener.end(kill=kill)
                self.opener, self.killed = None, kill

            @precondition(lambda self: self.joiner)
            @rule(kill=st.booleans())
            def the_joiner_goes(self, kill):
                self.joiner.end(kill=kill)
                self.joiner = None

            @rule()
            def sync(self):
                for _ in leftovers.deliver_all(here, journal):
                    pass
                if self.passes and self.killed is not None:
                    ended = "KILLED" if self.killed else "FINISHED"
                    ((_, status),) = self.runs
                    assert status == (self.found if self.killed and self.joiner else ended)

            def teardown(self):
                for each in filter(None, (self.opener, self.joiner)):
                    each.end(kill=True)
                self.killed = True if self.opener else self.killed
                self.opener = self.joiner = None
                self.fails("pass")
                with pytest.MonkeyPatch.context() as patch:  # no other process lives now
                    patch.setattr(folder, "_ORPHAN_SECONDS", 0)
                    self.sync()
                rows = store.rows("SELECT step, value, timestamp FROM metrics WHERE run_uuid = ?", self.runs[0][0])
                assert Counter(step for step, _, _ in rows) == self.accepted
                assert all(step == value and timestamp == 7 for step, value, timestamp in rows)
                left = [each.path for each in journal.runs()]
                assert left == [], [path.name for each in left for path in each.iterdir()]

        try_out(Machine, proxy, examples=15, steps=10)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.complex_numbers(),
    st.binary(max_size=3),
    st.just(object()),
    st.dates(),
)
keys = st.one_of(
    st.text("ab./ :", max_size=4), st.integers(-2, 5), st.none(), st.sampled_from(["value", "step", "x" * 251])
)
nests = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


def leaves(data: object) -> int:
    """Count the points that a nest means: every number, and every mapping that is a point."""
    if isinstance(data, dict):
        point = "value" in data and set(data) <= {"value", "step"}
        return 1 if point else sum(map(leaves, data.values()))
    return sum(map(leaves, data)) if isinstance(data, list) else 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nests)
def test_any_nest_is_logged_whole_or_refused_in_one_line(store, tmp_path, monkeypatch, data):
    """Whatever a node returns."""
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(store.uri)
    try:
        run_id = mlflow.MlflowClient().create_run("0").info.run_id
        dataset = MlflowMetricsDataSet(prefix="m", run_id=run_id)
        try:
            dataset.save(data)
        except DatasetError as exc:
            lines = str(exc).splitlines()
            assert len(lines) == 1
            assert store.points(run_id) == {}
        else:
            logged = sum(map(len, store.points(run_id).values()))
            top_step = isinstance(data, dict) and "step" in data
            assert logged in ({leaves(data), leaves(data) - 1} if top_step else {leaves(data)})
    finally:
        mlflow.set_tracking_uri(None)
