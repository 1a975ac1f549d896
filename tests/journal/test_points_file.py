"""A file of points: what was written comes back, and nothing else, whatever happens to it and to its process."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.journal import (
    abandon,
    adopt,
    begin,
    broken,
    check,
    curve,
    drain,
    flat,
    flips,
    folder_of,
    save,
    unwritable,
)

from kedro_mlflow_metrics.journal.folder import Journal, RunFolder
from kedro_mlflow_metrics.journal.points_file import waiting_points
from kedro_mlflow_metrics.points.curves import Curve

int64 = st.integers(-(2**63), 2**63 - 1)
keys = st.text(min_size=1, max_size=250) | st.sampled_from(["a/b c", "é" * 250, '"\\\n\0', "0123456789abcdef x"])
curves = st.tuples(keys, st.lists(st.tuples(st.floats(), int64, int64), min_size=1, max_size=8))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(curves, min_size=1, max_size=4), max_size=6), st.integers(1, 60), st.integers(0, 3))
def test_round_trip(saves, most, turns):
    """What was appended comes back once, in order and to the last bit, through a live reader and an adopter."""
    written, back = {}, {}

    def take(file):
        window = file.read(most)
        assert flat(file.read(most).points) == flat(window.points)
        assert not window.damaged
        assert bool(window.points) == file.waiting
        for some in window.points:
            back.setdefault(some.key, []).extend((repr(p.value), p.step, p.timestamp) for p in some)
        file.acknowledge(window.end)

    with tempfile.TemporaryDirectory() as root:
        file = begin(Journal(root))
        for points in saves:
            file.append([Curve(key, *zip(*rows, strict=True)) for key, rows in points])
            for key, rows in points:
                written.setdefault(key, []).extend((repr(value), step, time) for value, step, time in rows)
        for _ in range(turns):
            take(file)
        file.leave()
        file = adopt(file.path)
        while file.waiting:
            take(file)
        assert file.close()
        assert list(file.path.parent.iterdir()) == [file.path.parent / "run.json"]
    assert back == written


class TestLongFile:
    def test_shrinks(self, journal):
        """When all of it is answered for its first line stays, and what comes later survives a crash."""
        file, long = begin(journal), curve("x" * 250, 60_000)
        head = file.path.stat().st_size
        file.append(long)
        assert [len(some.values) for some in file.read(2500).points] == [3000]
        assert [p for some in waiting_points(folder_of(file.path)) for p in some] == list(long[0])
        while file.waiting:
            file.acknowledge(file.read(9000).end)
        file.compact()
        assert file.path.stat().st_size == head
        file.append(save(1))
        file.leave()
        assert drain(file.path) == (flat(save(1)), [])

    def test_does_not_shrink(self, journal):
        """A short one, and one of which something waits, stays as it is."""
        file = begin(journal)
        for points in (save(0), curve("x" * 250, 60_000)):
            file.append(points)
            file.acknowledge(file.read(10).end)
            size = file.path.stat().st_size
            file.compact()
            assert file.path.stat().st_size == size

    def test_sent_cannot_be_written(self, journal):
        """Where no file can be opened, later lines still survive a crash."""
        file = begin(journal)
        file.append(curve("x" * 250, 60_000))
        file.acknowledge(file.read(60_000).end)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        os.close(free := os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            file.compact()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        file.append(save(1))
        file.leave()
        assert drain(file.path)[0] >= flat(save(1))


class TestDamage:
    @pytest.mark.parametrize("seed", range(10))
    def test_random(self, journal, seed):
        """No point that was not written, every point of a whole line, each bad line counted: 3,000 damages in all."""
        rng = random.Random(seed)
        saves = [save(number) for number in range(300)]
        path, written = abandon(journal, saves), flat(*saves)
        whole, sent = path.read_bytes(), path.with_suffix(".sent")
        remembered, head = sent.read_bytes(), whole.index(b"\n") + 1
        lines = dict(zip(whole.splitlines(), [[], *saves], strict=True))
        for _ in range(60):
            start = rng.choice([0, head])
            sent.write_bytes(remembered if start else rng.randbytes(20))
            data = broken(whole[start:], rng)
            path.write_bytes(whole[:start] + data)
            points, damaged = drain(path, rng.choice([1, 60, 5000]))
            bad = check(data, lines, points, b"".join(damaged))
            assert points <= written
            assert all(any(piece in each for each in bad) for piece in damaged)

    def test_each_bit(self, journal):
        """A flipped bit costs its line, and none if it is the line's end."""
        saves = [save(number) for number in range(2)]
        path = abandon(journal, saves)
        head, _, body = path.read_bytes().partition(b"\n")
        sent = path.with_suffix(".sent").read_bytes()
        for at, data in list(flips(body))[::3]:
            path.write_bytes(head + b"\n" + data)
            path.with_suffix(".sent").write_bytes(sent)
            hit = body[:at].count(b"\n")
            left = saves if body[at] == ord("\n") else saves[:hit] + saves[hit + 1 :]
            points, damaged = drain(path)
            assert points == flat(*left)
            assert len(damaged) == (left is not saves) + (data.count(b"\n") > body.count(b"\n"))

    def test_line_end_before_a_key_like_a_checksum(self, journal):
        """A damaged line end costs no line, whatever the keys."""
        path = abandon(journal, [save(0), curve("0123456789abcdef x", 1)])
        head, first, second = path.read_bytes().splitlines()
        path.write_bytes(head + b"\n" + first + b"\0" + second + b"\n")
        assert drain(path) == (flat(save(0), curve("0123456789abcdef x", 1)), [])

    def test_sent(self, journal):
        """A broken `.sent` means sending again, never losing."""
        saves = [save(number) for number in range(5)]
        path = abandon(journal, saves)
        file = adopt(path)
        file.acknowledge(file.read(6).end)
        file.leave()
        sent, rng = path.with_suffix(".sent"), random.Random(0)
        whole = sent.read_bytes()
        assert drain(path)[0] == flat(*saves[2:])
        for data in (b"", b"\n", b"99999", *(data for _, data in flips(whole))):
            sent.write_bytes(data)
            assert drain(path)[0] == flat(*saves)
        for _ in range(300):
            sent.write_bytes(broken(whole, rng))
            assert drain(path)[0] in (flat(*saves), flat(*saves[2:]))
        sent.unlink()
        assert drain(path)[0] == flat(*saves)


SCRIPT = """
import os, resource, sys, time
from pathlib import Path
from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
from kedro_mlflow_metrics.journal.points_file import PointsFile
from kedro_mlflow_metrics.points.curves import Curve

journal, record = Journal(sys.argv[1]), Record("sqlite:///mlflow.db", "0123")
folder = journal.of(record)

def points(key, number=1):
    return [Curve(key, [0.5] * number, range(number), range(number))]

def begin():
    file = PointsFile.create(folder, record)
    file.append(points("first"))
    return file
"""
FORK = """
from kedro_mlflow_metrics.delivery.clock import outbox
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.store import RunInfo

record = Record("sqlite:///mlflow.db", local_id="local")
target = Target(Server("sqlite:///mlflow.db"), journal, record, RunInfo("local"))
outbox(target).save(points("parent"), print)
if not os.fork():
    outbox(target).save(points("child"), print)
    print(target.folder.path)
    sys.stdin.readline()
    sys.exit()
os.wait()
print("ended")
time.sleep(60)
"""
ADOPT = """
while line := sys.stdin.readline():
    file = PointsFile.adopt(RunFolder(journal, Path(line[2:-1]).parent), Path(line[2:-1]))
    if file and line[0] == "-":
        file.acknowledge(file.read(9).end)
        file.close()
    print(file is not None)
"""
FULL = """
file = begin()
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
for number in (1000, 9000):
    try:
        while True:
            file.append(points("long", number))
    except JournalError as exc:
        print(exc)
        print(os.path.getsize(file.path))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
file.append(points("last"))
print(file.path)
"""


@pytest.fixture
def python(tmp_path):
    """Start real other processes; they are gone after the test."""
    started = []

    def start(code):
        command = [sys.executable, "-u", "-c", SCRIPT + code, tmp_path]
        process = subprocess.Popen(command, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        kill(process)


def kill(process):
    with process:
        process.kill()


def heard(process):
    return process.stdout.readline().rstrip("\n")


class TestLocks:
    def test_living_process(self, python):
        """The file of a process is nobody else's until it is gone, by kill -9 too."""
        process = python("file = begin(); print(file.path); time.sleep(60)")
        path = Path(heard(process))
        assert adopt(path) is None
        assert [some.key for some in waiting_points(folder_of(path))] == ["first"]
        kill(process)
        assert drain(path)[0].total() == 1

    def test_fork(self, python):
        """A forked child writes a file of its own; the parent's stays locked while it lives, and after."""
        process = python(FORK)
        files = RunFolder(Journal(), Path(heard(process))).files()
        ours, childs = sorted(files, key=lambda path: f"-{process.pid}-" not in path.name)
        assert adopt(ours) is None
        assert adopt(childs) is None
        process.stdin.write("\n")
        assert heard(process) == "ended"
        assert adopt(ours) is None
        assert [key for key, *_ in drain(childs)[0]] == ["child"]
        kill(process)
        assert [key for key, *_ in drain(ours)[0]] == ["parent"]

    def test_two_adopt_at_once(self, journal, python):
        """One gets the file, whether it keeps it (+) or sends and deletes it at once (-)."""
        two = [python(ADOPT), python(ADOPT)]
        for number in range(40):
            path = abandon(journal, [save(0)])
            for process in two:
                process.stdin.write(f"{'+-'[number % 2]} {path}\n")
            assert sorted(map(heard, two)) == ["False", "True"]

    def test_come_and_go(self, python):
        """Processes that begin and end their files of one run at the same time do not hinder each other."""
        code = """
for _ in range(200):
    file = begin()
    assert folder.read() == record
    file.acknowledge(file.read(9).end)
    file.close()
    folder.remove()
"""
        assert [process.wait() for process in [python(code) for _ in range(3)]] == [0, 0, 0]


def test_file_size_limit(journal, python):
    """A write that is cut short leaves nothing, of one batch or of several; with room again it goes on."""
    one, size, many, same, path = python(FULL).communicate()[0].splitlines()
    assert one == many == unwritable(journal, "No space left on device")
    assert size == same
    assert Path(path).read_bytes()[: int(size)].endswith(b"]]\n")
    points, damaged = drain(Path(path))
    assert Counter(key for key, *_ in points.elements()) == {"first": 1, "long": 5000, "last": 1}
    assert not damaged
