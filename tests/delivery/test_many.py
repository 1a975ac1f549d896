"""A thousand tasks that come back after an outage, and fewer of them with a server that is slower by as much."""

from __future__ import annotations

import pytest
from support.many import Case, simulate

from kedro_mlflow_metrics.delivery.sender import pause_after

TASKS = 12
FAULTS = {"refuse": {}, "503": {"fault": "503", "retry_after": 60.0}}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_nobody_starves(tmp_path, fault):
    """All is stored; little of it is sent twice; each task is heard, and catches up about as soon as the server can."""
    case = Case.like_a_thousand(TASKS, until=700.0, **fault)
    outcome = simulate(case, tmp_path)
    assert outcome.stored == outcome.written > TASKS * case.points * 230
    assert outcome.received < 1.5 * outcome.stored
    assert outcome.busiest(10) < 0.6 * TASKS
    assert max(outcome.heard) < case.down[1] + 240
    assert max(outcome.caught_up) < case.down[1] + 2 * case.least
    assert max(outcome.journal) < 300_000


def test_the_same_seed_gives_the_same(tmp_path):
    """A result can be repeated."""
    case = Case(tasks=5, until=60.0, down=(10.0, 30.0))
    first, again, other = (simulate(case, tmp_path / name, seed) for name, seed in (("1", 0), ("2", 0), ("3", 1)))
    assert first == again != other


def test_pauses_grow():
    """They double to a minute at most, and differ by up to a half."""
    for failures, longest in ((1, 1), (2, 2), (6, 32), (7, 60), (5000, 60)):
        pauses = [pause_after(failures, 0.0) for _ in range(200)]
        assert longest / 2 <= min(pauses) < 0.6 * longest
        assert 0.9 * longest < max(pauses) <= longest


def test_a_server_that_names_a_time_gets_no_herd():
    """Nobody comes before it, and those who were told the same come over half of it again."""
    pauses = [pause_after(7, 600.0) for _ in range(200)]
    assert 600 <= min(pauses) < 650
    assert 850 < max(pauses) <= 900
