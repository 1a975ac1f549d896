"""The journal: what was written comes back, and nothing else, whatever happens to its files and processes."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import mlflow
import pytest
from conftest import free_port
from hypothesis import given, settings
from hypothesis import strategies as st

from kedro_mlflow_metrics.delivery import clock, leftovers
from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
from kedro_mlflow_metrics.journal.points_file import PointsFile, waiting_points
from kedro_mlflow_metrics.points.curves import Curve
from kedro_mlflow_metrics.project.binding import Binding
from kedro_mlflow_metrics.project.context import RunRequest
from kedro_mlflow_metrics.project.settings import read_settings
from kedro_mlflow_metrics.runs import lifetime
from kedro_mlflow_metrics.runs.choose import Chooser
from kedro_mlflow_metrics.tracking.address import Server

RECORD = Record("sqlite:///mlflow.db", "0123456789abcdef0123456789abcdef", env="local", name="a run")
OTHER = replace(RECORD, run_id="fedcba9876543210fedcba9876543210")


@pytest.fixture
def journal(tmp_path):
    return Journal(str(tmp_path))


def begin(journal, record=RECORD):
    return PointsFile.create(journal.of(record), record)


def folder_of(path):
    """Return the folder of a run in which a file stands."""
    return RunFolder(Journal(str(path.parents[3])), path.parent)


def adopt(path):
    return PointsFile.adopt(folder_of(path), path)


def read_record(path):
    return RunFolder(Journal(), path).read()


def save(number):
    """Return a save that shares no point with one of another number."""
    steps = [2 * number, 2 * number + 1]
    return [Curve("train/loss", [step / 7 for step in steps], steps, [7, 7]), Curve("épreuve", [0.5], [number], [8])]


def curve(key, length):
    return [Curve(key, [step / 3 for step in range(length)], range(length), [7] * length)]


def flat(*saves):
    return Counter((p.key, repr(p.value), p.step, p.timestamp) for points in saves for some in points for p in some)


def abandon(journal, saves, record=RECORD):
    """Leave a file as a process that is killed leaves it."""
    file = begin(journal, record)
    for points in saves:
        file.append(points)
    file.leave()
    return file.path


def drain(path, most=50):
    """Adopt a file and read it to its end; return its points and its damaged lines."""
    file = adopt(path)
    points, damaged, end = [], [], -1
    while file.waiting:
        window = file.read(most)
        assert window.end > end
        end = window.end
        points += window.points
        damaged += window.damaged
        file.acknowledge(end)
    file.leave()
    return flat(points), damaged


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


def flips(data):
    """Yield data with each of its bits turned, and where that is."""
    for at, bit in product(range(len(data)), range(8)):
        yield at, data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def broken(data, rng):
    """Do what disks, crashes and editors do, one to nine times, and in one case of eight cut the rest off."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 9)):
        at, length = rng.randrange(len(data)), rng.choice([1, 2, 5, 60, 700])
        line = data.find(b"\n", at)
        start, stop, new = rng.choice(
            [
                (at, at + 1, bytes([data[at] ^ 1 << rng.randrange(8)])),
                (at, at + length, rng.randbytes(length)),
                (at, at + length, bytes(length)),
                (at, at + length, b""),
                (at, at, rng.randbytes(length)),
                (at, at, b"\n" * length),
                (line, line + 1, rng.choice([b"", b"\r\n", b" ", b"a", b"0", b"\0"])),
            ]
        )
        data[start:stop] = new
        data = data or bytearray(1)
    return bytes(data if rng.randrange(8) else data[: rng.randrange(len(data))])


def check(data, lines, points, damaged):
    """Check what came back of damaged data whose lines once held these saves."""
    pieces = [piece for piece in data.split(b"\n") if piece]
    assert flat(*(lines[piece] for piece in pieces if piece in lines)) <= points
    bad = [piece for piece in pieces if piece not in lines]
    for piece in bad:
        assert piece in damaged or any(line in piece for line in lines)  # a good one that lost its end
    return bad


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

    def test_record(self, journal):
        """A broken `run.json` gives way to the first line of a file; a wrong run is never named."""
        path, ended = abandon(journal, [save(0)]), replace(RECORD, status="FAILED", end_time=7)
        folder_of(path).write(ended)
        assert read_record(path.parent) == ended
        run, rng = path.parent / "run.json", random.Random(0)
        whole, lines = run.read_bytes(), path.read_bytes()
        for data in (b"", b"{}", *(data for _, data in list(flips(whole))[::3])):
            run.write_bytes(data)
            assert read_record(path.parent) == RECORD
        for both in [False] * 300 + [True] * 300:
            run.write_bytes(broken(whole, rng))
            path.write_bytes(broken(lines, rng) if both else lines)
            assert read_record(path.parent) in ((ended, RECORD, None) if both else (ended, RECORD))

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

    def test_to_the_store(self, store, tmp_path):
        """In MLflow are the points of the whole lines and no others; the bad lines stand in `.damaged`."""
        server, journal = Server(store.uri), Journal(str(tmp_path))
        client, rng = mlflow.MlflowClient(store.uri), random.Random(0)
        saves = [save(number) for number in range(40)]
        for _ in range(30):
            run_id = client.create_run("0").info.run_id
            path = abandon(journal, saves, Record(server.portable(journal.root), run_id))
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
    paths = [abandon(journal, [save(0)], Record(server.portable(journal.root), run_id)) for run_id in run_ids]
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


def refused(attempt, *arguments):
    with pytest.raises(JournalError) as error:
        attempt(*arguments)
    return str(error.value)


class TestLimit:
    def message(self, journal):
        return (
            f"the journal {journal.folder} has reached its limit of {journal.max_bytes} bytes; send it with "
            "'kedro metrics sync', or raise journal.max_bytes in kedro_mlflow_metrics.yml"
        )

    def test_all_or_nothing(self, tmp_path):
        """An append that does not fit leaves nothing, however many batches it has; a smaller one still fits."""
        journal = Journal(str(tmp_path), max_bytes=60_000)
        file = begin(journal)
        file.append(save(0))
        before = file.path.read_bytes()
        assert refused(file.append, curve("long", 9000)) == self.message(journal)
        assert file.path.read_bytes() == before
        file.append(save(1))
        file.leave()
        assert drain(file.path) == (flat(save(0), save(1)), [])

    def test_others_count(self, tmp_path):
        """The limit is for all files of the journal; what others sent and deleted is room again."""
        journal = Journal(str(tmp_path), max_bytes=6000)
        other = begin(journal, OTHER)
        other.append(curve("m", 100))
        file = begin(journal)
        assert refused(lambda: [file.append(save(number)) for number in range(100)]) == self.message(journal)
        assert 5700 < sum(path.stat().st_size for path in journal.folder.glob("runs/*/*")) < 6400
        assert refused(begin, journal, replace(RECORD, run_id="third")) == self.message(journal)
        other.acknowledge(other.read(100).end)
        assert other.close()
        file.append(save(100))


SCRIPT = """
import os, resource, sys, time
from pathlib import Path
from kedro_mlflow_metrics.delivery.clock import outbox
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
from kedro_mlflow_metrics.journal.points_file import PointsFile
from kedro_mlflow_metrics.points.curves import Curve
from kedro_mlflow_metrics.project.binding import Binding
from kedro_mlflow_metrics.project.context import RunRequest
from kedro_mlflow_metrics.project.settings import read_settings
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.store import RunInfo

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


def unwritable(journal, why):
    return (
        f"the journal {journal.folder} cannot be written: {why}; make room or set journal.path in "
        "kedro_mlflow_metrics.yml"
    )


@pytest.fixture
def mount(tmp_path):
    """Mount a small disk of its own."""
    (tmp_path / "disk").mkdir()

    def mounted(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "none", tmp_path / "disk"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        return Journal(str(tmp_path / "disk"))

    yield mounted
    subprocess.run(["umount", "-l", tmp_path / "disk"], capture_output=True, check=False)


class TestDisk:
    def test_file_size_limit(self, journal, python):
        """A write that is cut short leaves nothing, of one batch or of several; with room again it goes on."""
        one, size, many, same, path = python(FULL).communicate()[0].splitlines()
        assert one == many == unwritable(journal, "No space left on device")
        assert size == same
        assert Path(path).read_bytes()[: int(size)].endswith(b"]]\n")
        points, damaged = drain(Path(path))
        assert Counter(key for key, *_ in points.elements()) == {"first": 1, "long": 5000, "last": 1}
        assert not damaged

    def test_full(self, mount):
        """The same on a disk that is full; a file that cannot begin leaves nothing."""
        journal = mount("size=64k")
        filler, saves = Path(journal.root, "filler"), []
        filler.write_bytes(bytes(30_000))
        file = begin(journal)

        def fill():
            while True:
                file.append(save(len(saves)))
                saves.append(save(len(saves)))

        assert refused(fill) == unwritable(journal, "No space left on device")
        assert len(saves) > 20
        assert refused(begin, journal, OTHER) == unwritable(journal, "No space left on device")
        assert not list(journal.of(OTHER).path.iterdir())
        filler.unlink()
        file.append(save(9999))
        file.leave()
        assert drain(file.path) == (flat(*saves, save(9999)), [])

    def test_below_a_file(self, tmp_path):
        """A journal below a regular file is refused in one line."""
        (tmp_path / "file.txt").touch()
        journal = Journal(str(tmp_path), "file.txt/sub")
        assert refused(begin, journal) == unwritable(journal, "Not a directory")
        assert refused(journal.of(RECORD).write, RECORD) == unwritable(journal, "Not a directory")

    def test_read_only(self, mount):
        """So is one on a disk that is read-only."""
        journal = mount("ro")
        assert refused(begin, journal) == unwritable(journal, "Read-only file system")


def test_no_secret(tmp_path):
    """No password, token or query of an address, a tag or a variable stands in the journal."""
    uri = f"http://ann:s3cret@127.0.0.1:{free_port()}/ml?token=s3cret"
    variables = {"MLFLOW_TRACKING_PASSWORD": "s3cret", "MLFLOW_TRACKING_TOKEN": "s3cret"}
    about = Binding(server=Server(uri, 2.0, variables), journal=Journal(str(tmp_path)), experiment="Default")
    tags = {"repository": "https://s3cret@github.com/a/b", "build": "https://ci.example/1?token=s3cret"}
    run = read_settings({"run": {"tags": tags}}, {})
    target = Chooser(about, run, RunRequest(("p",), {}, "", "", has_workers=False), saves=True).choose().target
    clock.outbox(target).save(save(0), print)
    _, trouble = lifetime._end(target, "FINISHED", owner=True)
    assert trouble is not None
    assert sum(map(len, waiting_points(target.folder))) == 3
    assert "127.0.0.1" in target.folder.read().reason
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"github.com/a/b" in written
    assert b"s3cret" not in written


@pytest.mark.parametrize(
    ("uri", "portable"),
    [
        ("sqlite:////proj/mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite+pysqlite:////proj/a/b.db", "sqlite+pysqlite:///a/b.db"),
        ("file:///proj/mlruns", "mlruns"),
        ("sqlite:////project/mlflow.db", "sqlite:////project/mlflow.db"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("file:///else/mlruns", "file:///else/mlruns"),
        ("mlruns", "mlruns"),
        ("databricks://profile", "databricks://profile"),
        ("http://127.0.0.1:5000/proj/x", "http://127.0.0.1:5000/proj/x"),
        ("https://ann:pw@host:5000/a?token=t", "https://host:5000/a"),
        ("https://host/a?token=t", "https://host/a"),
        ("postgresql://ann:pw@db:5432/mlflow?sslpassword=x", "postgresql://db:5432/mlflow"),
        ("postgresql:///mlflow?host=db&password=pw", "postgresql:///mlflow"),
        ("https://[x/", "an address that cannot be read"),
    ],
)
def test_portable_uri(uri, portable):
    """Local addresses below the root become relative, others stay; passwords and queries are gone."""
    assert Server(uri).portable("/proj") == portable
