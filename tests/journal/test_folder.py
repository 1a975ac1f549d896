"""The folder of a run: which run it is, how much the journal takes, and what it says when it takes no more."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.journal import (
    OTHER,
    RECORD,
    abandon,
    begin,
    broken,
    curve,
    drain,
    flat,
    flips,
    folder_of,
    read_record,
    refused,
    save,
    unwritable,
)

from kedro_mlflow_metrics.delivery import leftovers
from kedro_mlflow_metrics.journal.folder import Journal, RunFolder
from kedro_mlflow_metrics.journal.session import Session, notes_in
from kedro_mlflow_metrics.tracking.address import Server


def test_broken_record(journal):
    """A broken `run.json` gives way to the first line of a file; a wrong run is never named."""
    path, ended = abandon(journal, [save(0)]), replace(RECORD, run_key="k", start_time=7)
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


def test_half_of_a_replacement(journal):
    """What a kill left of a new `run.json` goes with its folder, when it is too old for a process to be at it."""
    folder = journal.of(RECORD)
    folder.write(RECORD)
    half = folder.path / ".run.json.1-0123abcd"
    half.touch()
    assert not folder.remove()
    assert (folder.read(), half.exists()) == (RECORD, True)
    os.utime(half, (time.time() - 61,) * 2)
    assert folder.remove()
    assert not folder.path.exists()


def test_a_lock_alone(journal, mocker):
    """Who comes to send while the process removes the folder does not bring the run back, to be made again."""
    record, locked, rmdir = replace(RECORD, run_id="", local_id="new"), RunFolder.locked, Path.rmdir
    folder = journal.of(record)
    folder.write(record)

    def remove(path):
        (path / "lock").touch()  # by who comes at this moment
        mocker.stopall()
        rmdir(path)

    def remove_first(self, seconds):
        mocker.patch.object(Path, "rmdir", remove)
        assert not folder.remove()
        return locked(self, seconds)

    mocker.patch.object(RunFolder, "locked", remove_first)
    assert list(leftovers.deliver(folder, Server("http://nobody.invalid"))) == []
    assert not folder.path.exists()


def test_the_command_that_works(tmp_path):
    """``kedro metrics`` is there in a Kedro project alone, and outside one no environment has settings."""
    journals = [Journal(str(tmp_path), env=env) for env in ("", "local", "prod")]
    anywhere = "python -m kedro_mlflow_metrics sync"
    assert [each.command("sync") for each in journals] == [anywhere] * 3
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "kedro"\n')
    assert [each.command("sync") for each in journals] == [anywhere] * 3
    (tmp_path / "pyproject.toml").write_text("[tool.kedro]\n")
    assert [each.command("sync") for each in journals] == [*["kedro metrics sync"] * 2, "kedro metrics sync --env prod"]


class TestLimit:
    def message(self, journal):
        return (
            f"the journal {journal.folder} has reached its limit of {journal.max_bytes} bytes; send it with "
            "'python -m kedro_mlflow_metrics sync', or raise journal.max_bytes in kedro_mlflow_metrics.yml"
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
    def test_full(self, mount):
        """A full disk takes all of a write or nothing of it; a file that cannot begin leaves nothing."""
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

    def test_a_note_that_does_not_fit(self, journal):
        """Half of a session's note is none; it is written at the end, if there is room by then."""
        folder, (soft, hard) = journal.of(RECORD), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            session = Session(folder, RECORD, owner=True)
            assert not list(folder.path.iterdir())
            assert refused(session.end, "FINISHED", 7) == unwritable(journal, "No space left on device")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        session.end("FINISHED", 7)
        session.leave()
        (found,) = notes_in(folder)
        assert (found.note.status, found.note.end_time) == ("FINISHED", 7)

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
