"""What training libraries give is logged as it is: the page is run, with the real library where that is light."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PAGE = (Path(__file__).parents[2] / "docs/how-to/libraries.md").read_text()
ROWS = re.findall(r"^\| (\w[\w ]*): `[^`]+` \| `([^`]+)` \| (.+) \|$", PAGE, re.MULTILINE)
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.random((60, 3)), RANDOM.integers(0, 2, 60)


def example(library):
    """Run the example of a library, and return the function that it defines."""
    code, names = re.split(r"```(?:python\n)?", PAGE.split(f"## {library}\n")[1])[1], {}
    exec(code, names)
    return names[re.search(r"^def (\w+)", code, re.MULTILINE)[1]]


def shown(keys):
    """Return those of the keys that the page names."""
    return {key for key in keys if f"`{key}`" in PAGE}


def test_scikit_learn(saved):
    """The report of a classification is a group per class."""
    points = saved(example("scikit-learn")(["cat", "dog", "dog"], ["cat", "dog", "cat"]))
    assert points["cat.precision"] == [(0, 0.5)]
    assert points["accuracy"] == [(0, 2 / 3)]
    assert shown(points) == {"cat.precision", "cat.f1-score", "accuracy", "macro avg.recall"}


def test_lightgbm(saved):
    """What ``record_evaluation`` fills is a curve per metric."""
    import lightgbm

    parameters = {"objective": "binary", "metric": ["auc", "average_precision"], "verbose": -1}
    train_set = lightgbm.Dataset(X, Y)
    evals, model = example("LightGBM")(train_set, lightgbm.Dataset(X, Y, reference=train_set), parameters)
    points = saved(evals)
    assert shown(points) == set(points) == {"valid.auc", "valid.average_precision"}
    assert points["valid.auc"] == list(enumerate(evals["valid"]["auc"]))
    assert len(points["valid.auc"]) == model.num_trees() == 5


def test_xgboost(saved, caplog):
    """What ``evals_result`` is filled with is too, and a threshold in a name is spelt otherwise."""
    xgboost = pytest.importorskip("xgboost", reason="xgboost-cpu has no wheel for this machine")
    data = xgboost.DMatrix(X, Y)
    evals, _ = example("XGBoost")(data, data, {"objective": "binary:logistic", "eval_metric": ["logloss", "error@0.7"]})
    points = saved(evals)
    assert shown(points) == set(points) == {"valid.logloss", "valid.error_0.7"}
    assert points["valid.error_0.7"] == list(enumerate(evals["valid"]["error@0.7"]))
    assert [
        record.getMessage().split(":")[0] for record in caplog.records if record.name.startswith("kedro.mlflow")
    ] == ["metric 'valid.error@0.7' is logged as 'valid.error_0.7'"]


@pytest.mark.parametrize(("library", "looks", "names"), ROWS, ids=[row[0] for row in ROWS])
def test_a_shape_of_the_table(saved, library, looks, names):
    """Each documented shape gives the names that stand beside it, with its numbers."""
    data = eval(looks, {"tensor": lambda number: np.float32(number).reshape(())})
    points = saved(data)
    assert set(points) == set(re.findall(r"`([^`]+)`", names))
    given = [float(number) for number in re.findall(r"(?<=[( \[])\d\.\d+", looks)]
    assert sorted(value for each in points.values() for _, value in each) == pytest.approx(sorted(given))
    if library == "Hugging Face":
        assert points["loss"] == [(10, 0.7)]
        assert points["epoch"] == [(10, 0.5), (20, 1.0)]


def test_the_table_has_them_all():
    """No row escapes the test above."""
    assert [row[0] for row in ROWS] == ["Keras", "Hugging Face", "Lightning", "torchmetrics"]


def test_describe(saved):
    """A frame with an index of text is a group per column."""
    points = saved(pd.DataFrame({"x": [1.0, 3.0]}).describe())
    assert points["x.mean"] == [(0, 2.0)]
    assert {"x.count", "x.25_"} <= set(points)
