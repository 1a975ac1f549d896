"""Files of the journal: written, read, damaged, and left as a process that is killed leaves them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
from kedro_mlflow_metrics.journal.points_file import PointsFile
from kedro_mlflow_metrics.points.curves import Curve

RECORD = Record("sqlite:///mlflow.db", "0123456789abcdef0123456789abcdef", env="local", name="a run")
OTHER = replace(RECORD, run_id="fedcba9876543210fedcba9876543210")


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


def refused(attempt, *arguments):
    with pytest.raises(JournalError) as error:
        attempt(*arguments)
    return str(error.value)


def unwritable(journal, why):
    return (
        f"the journal {journal.folder} cannot be written: {why}; make room or set journal.path in "
        "kedro_mlflow_metrics.yml"
    )
