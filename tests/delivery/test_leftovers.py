"""What a killed process left in the journal is sent; what others put there is left alone."""

from __future__ import annotations

import random
from collections import Counter

import mlflow
from support.journal import abandon, broken, check, flat, folder_of, save

from kedro_mlflow_metrics.delivery import leftovers
from kedro_mlflow_metrics.journal.folder import Journal, Record
from kedro_mlflow_metrics.tracking.address import Server


def test_damaged_files(store, tmp_path):
    """In MLflow are the points of the whole lines and no others; the bad lines stand in `.damaged`."""
    server, journal = Server(store.uri), Journal(str(tmp_path))
    client, rng = mlflow.MlflowClient(store.uri), random.Random(0)
    saves = [save(number) for number in range(40)]
    for _ in range(30):
        run_id = client.create_run("0").info.run_id
        path = abandon(journal, saves, Record(server.portable(journal.base), run_id))
        head, _, body = path.read_bytes().partition(b"\n")
        data = broken(body, rng)
        path.write_bytes(head + b"\n" + data)
        answered = sum(leftovers.deliver(folder_of(path), server))
        rows = store.rows("SELECT key, value, step, timestamp FROM metrics WHERE run_uuid = ?", run_id)
        there = Counter((key, repr(value), step, timestamp) for key, value, step, timestamp in rows)
        kept = path.with_suffix(".damaged").read_bytes().replace(b"\n", b"") if path.parent.exists() else b""
        check(data, dict(zip(body.splitlines(), saves, strict=True)), there, kept)
        assert there <= flat(*saves)
        assert there.total() == answered
        assert not path.exists()


def test_foreign_files(store, tmp_path):
    """What others put into the journal's folders is neither sent nor lost, and stops nothing."""
    server, journal = Server(store.uri), Journal(str(tmp_path))
    run_ids = [mlflow.MlflowClient(store.uri).create_run("0").info.run_id for _ in range(2)]
    paths = [abandon(journal, [save(0)], Record(server.portable(journal.base), run_id)) for run_id in run_ids]
    folder, garbage = paths[0].parent, random.Random(0).randbytes(5000)
    places = (journal.folder / "runs", folder, paths[1].parent)
    foreign = {
        **{place / name: garbage for place in places for name in (".DS_Store", "README.txt", "x.jsonl")},
        folder / "notes" / "a.jsonl": paths[0].read_bytes(),
        folder / "host-1-00000000.jsonl" / "file": b"in a folder that is named like a file of ours",
        journal.folder / "runs" / "other" / "README.txt": b"read me\n",
    }
    for place, data in foreign.items():
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
    (folder / "host-1-00000001.jsonl").touch()
    (folder / "host-1-00000002.jsonl").write_bytes(garbage)
    assert sum(each.points for each in leftovers.look(journal)) == 6
    assert sum(leftovers.deliver_all(server, journal)) == 6
    for run_id in run_ids:
        assert store.points(run_id) == {"train/loss": [(0, 0.0), (1, 1 / 7)], "épreuve": [(0, 0.5)]}
    assert {place: place.read_bytes() for place in foreign} == foreign
    assert (folder / "host-1-00000002.damaged").read_bytes().strip() == garbage.strip()
