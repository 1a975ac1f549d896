"""``kedro metrics validate``: what Kubeflow would say to a file."""

from __future__ import annotations

import subprocess

import pytest
from support.project import BIN, Project
from support.terminal import rows_of


@pytest.fixture(scope="session")
def files(tmp_path_factory, empty_store):
    """A project with metrics files, good and bad."""
    project = Project(tmp_path_factory.mktemp("validate") / "project", empty_store)
    texts = {
        "good": '{"metrics": [{"name": "loss", "numberValue": 0.25, "format": "RAW"}]}',
        "modern": '{"metrics": [{"name": "Top_5", "numberValue": 1}]}',
        "bad": '{"metrics": [{"name": "a", "numberValue": 1}, {"name": "b.c", "numberValue": 1}]}',
        "nan": '{"metrics": [{"name": "a", "numberValue": NaN}]}',
        "twice": '{"metrics": []} {}',
        "text": '{"metrics": [{"name": "a", "numberValue": "1.5", "format": "UNSPECIFIED"}]}',
        "both": '{"metrics": [{"name": "a", "numberValue": "1.5"}, {"name": "b.c", "numberValue": 1}]}',
    }
    for name, text in texts.items():
        (project.root / f"{name}.txt").write_text(text)
    return project


def table(out):
    """Return the rows of the table."""
    return rows_of(out, "entry", "metric", "problem", "Kubeflow", "versions")


def test_validate_a_good_file(files, kedro):
    """Exit code 0 and one line."""
    out = kedro.run(files.root, "metrics", "validate", "good.txt")
    assert "good.txt: Kubeflow takes all of it, since version 1.0." in out
    assert table(out) == []


def test_validate_what_is_taken_but_not_documented(files, kedro):
    """A number as text and the format UNSPECIFIED are notes on a good file; they hide nothing in a bad one."""
    out = kedro.run(files.root, "metrics", "validate", "text.txt")
    note = ["takes that, though its documentation does not", "every version"]
    assert [row[3:] for row in table(out)] == [note, note]
    assert "text.txt: Kubeflow takes all of it, since version 1.0." in out
    out = kedro.run(files.root, "metrics", "validate", "both.txt", code=1)
    assert [row[3] for row in table(out)] == [note[0], "drops this metric"]
    assert "takes all of it" not in out


@pytest.mark.parametrize(
    ("file", "said_of_it"),
    [
        ("bad.txt", ["1", "b.c", "drops this metric", "every version"]),
        ("nan.txt", ["0", "a", "drops the whole file", "every version"]),
        ("twice.txt", ["file", "", "drops the whole file", "2.14.0 and later, perhaps after 2.5.0"]),
    ],
)
def test_validate_a_bad_file(files, kedro, file, said_of_it):
    """Exit code 1; entry, problem, outcome and versions of each finding."""
    (row,) = table(kedro.run(files.root, "metrics", "validate", file, code=1))
    assert [*row[:2], *row[3:]] == said_of_it
    assert row[2]


def test_validate_for_old_versions(files, kedro):
    """``--legacy`` judges by the names before 1.0 too."""
    kedro.run(files.root, "metrics", "validate", "modern.txt")
    (row,) = table(kedro.run(files.root, "metrics", "validate", "modern.txt", "--legacy", code=1))
    assert [row[0], row[1], *row[3:]] == ["0", "Top_5", "drops this metric", "up to 0.5.2"]
    assert "since version 0.1." in kedro.run(files.root, "metrics", "validate", "good.txt", "--legacy")


def test_validate_standard_input(files):
    """``-`` reads what another program writes; findings are on standard output."""
    done = subprocess.run(
        [BIN / "kedro", "metrics", "validate", "-"],
        input=(files.root / "bad.txt").read_text(),
        cwd=files.root,
        env=files.environment(None),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert [row[:2] for row in table(done.stdout)] == [["1", "b.c"]]


def test_validate_nothing(files, kedro):
    """A file that is not there is an error of one line."""
    command = kedro.start(files.root, "metrics", "validate", "nothere.txt")
    assert command.wait() == 2
    assert command.output.splitlines()[-1].startswith("Error: Invalid value for 'FILE': 'nothere.txt'")
