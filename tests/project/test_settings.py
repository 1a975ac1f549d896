"""What each setting does, and that MLflow's own variables win over them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from support.project import ENTRY

from kedro_mlflow_metrics.errors import SettingsError
from kedro_mlflow_metrics.project.settings import read_settings


@pytest.mark.parametrize("runner", ["SequentialRunner", "ParallelRunner"])
def test_switched_off(simple, runner):
    """`enabled: false` logs nothing."""
    simple.settings("enabled: false\n")
    simple.kedro("run", "--runner", runner)
    assert simple.store.runs == []


@pytest.mark.parametrize(("runner", "names"), [("SequentialRunner", "[quiet]"), ("ParallelRunner", "quiet")])
def test_switched_off_loads_from_memory(project, runner, names):
    """Switched off for one pipeline, in a list or alone, a later node's load gets what was saved."""
    project.catalog(ENTRY)
    project.settings(f"disabled_pipelines: {names}\n")
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def show(m):
            print("SHOWN", m)
        def metrics():
            return {"a": [1, 2]}
        def register_pipelines():
            nodes = pipeline([node(metrics, None, "m"), node(show, "m", None)])
            return {"__default__": nodes, "quiet": nodes}
    """)
    out = project.kedro("run", "--pipeline", "quiet", "--runner", runner).stdout
    assert "SHOWN {'a': [{'value': 1.0, 'step': 0}, {'value': 2.0, 'step': 1}]}" in out
    assert project.store.runs == []


def test_run_settings(simple):
    """Name, tags, experiment, separator and address come from the settings file."""
    simple.settings("""
        tracking_uri: sqlite:///mlflow.db
        experiment: mine
        separator: /
        run: {name: nightly, tags: {team: blue, size: 3}}
    """)
    simple.kedro("run")
    run = simple.store.run
    assert run["name"] == "nightly"
    assert simple.store.experiment(run["run_uuid"]) == "mine"
    assert simple.store.points() == {"m/a": [(0, 1.0)]}
    assert {"team": "blue", "size": "3"}.items() <= simple.store.tags(run["run_uuid"]).items()


def test_not_active(project):
    """`run.active: false` lets nodes start runs of their own."""
    project.catalog(ENTRY)
    project.settings("run: {active: false}\n")
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def own():
            import mlflow
            with mlflow.start_run(run_name="own"):
                mlflow.log_metric("mine", 1)
            return {"a": 1}
        def register_pipelines():
            return {"__default__": pipeline([node(own, None, "m")])}
    """)
    project.kedro("run")
    points = {run["name"].split()[0]: project.store.points(run["run_uuid"]) for run in project.store.runs}
    assert points == {"proj": {"m.a": [(0, 1.0)]}, "own": {"mine": [(0, 1.0)]}}


def test_environment_wins_over_the_file(simple, store):
    """MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME win over the settings."""
    simple.settings("tracking_uri: sqlite:///other.db\nexperiment: file\n")
    simple.kedro("run", env={"MLFLOW_TRACKING_URI": store.uri, "MLFLOW_EXPERIMENT_NAME": "env"})
    assert store.experiment(store.run["run_uuid"]) == "env"
    assert not (simple.root / "other.db").exists()


def test_the_name_of_a_run(simple):
    """It is the pipeline and its local start, the default pipeline by the project; or what the setting says of them."""
    simple.kedro("run")
    simple.kedro("run", "--pipeline", "breaks", env={"TZ": "Asia/Kolkata"}, fails=True, cold=True)
    simple.settings("run: {name: '{project}/{env}: {pipeline}, {{{started}}}'}\n")
    simple.kedro("run")
    rows = simple.store.rows("SELECT name, start_time / 1000 FROM runs ORDER BY start_time")
    india = timezone(timedelta(hours=5, minutes=30))
    starts = [
        datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")
        for (_, at), zone in zip(rows, (None, india, None), strict=True)
    ]
    assert [name for name, _ in rows] == [
        f"proj {starts[0]}",
        f"breaks {starts[1]}",
        f"proj/local: proj, {{{starts[2]}}}",
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{pipline}", "there is no field {pipline}; did you mean 'pipeline'?"),
        ("{user}", "there is no field {user}; accepted: {pipeline}, {started}, {env}, {project}"),
        ("{", "a field cannot be read; accepted: {pipeline}, {started}, {env}, {project}; a brace itself is {{ or }}"),
        (
            "{started:%H}",
            "a field cannot be read; accepted: {pipeline}, {started}, {env}, {project}; a brace itself is {{ or }}",
        ),
    ],
)
def test_a_field_of_a_name_that_is_none(name, told):
    """It is refused when the settings are read, not after a training."""
    with pytest.raises(SettingsError) as error:
        read_settings({"run": {"name": name}}, {})
    assert str(error.value).endswith(told)


NO_VARIABLE = "credentials.yml: 'tracker' has {!r}, which is no environment variable of MLflow's; {}"


def test_a_user_name_by_another_name(simple):
    """An entry of credentials.yml that would be ignored stops the pipeline, which would be refused by the server."""
    simple.write("conf/local/credentials.yml", "tracker: {username: ann, password: s3cret}\n")
    simple.settings("credentials: tracker\n")
    out = simple.kedro("run", fails=True).stdout
    message = NO_VARIABLE.format("username", "did you mean 'MLFLOW_TRACKING_USERNAME'?")
    assert out.splitlines()[-1] == f"Error: {message}"
    assert "COMPUTED" not in out


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("user", "MLFLOW_TRACKING_USERNAME"),
        ("Password", "MLFLOW_TRACKING_PASSWORD"),
        ("token", "MLFLOW_TRACKING_TOKEN"),
        ("MLFLOW_USERNAME", "MLFLOW_TRACKING_USERNAME"),
        ("mlflow_tracking_user", "MLFLOW_TRACKING_USERNAME"),
        ("MLFLOW_TRACKING_PASWORD", "MLFLOW_TRACKING_PASSWORD"),
        ("insecure_tls", "MLFLOW_TRACKING_INSECURE_TLS"),
        ("MLFLOW_S3_ENDPONT_URL", "MLFLOW_S3_ENDPOINT_URL"),
    ],
)
def test_the_variable_that_was_meant(name, close):
    """It is named."""
    with pytest.raises(SettingsError) as error:
        read_settings({"credentials": "tracker"}, {"tracker": {name: "x"}})
    assert str(error.value) == NO_VARIABLE.format(name, f"did you mean {close!r}?")


@pytest.mark.parametrize("name", ["foo", "endpoint", 3])
def test_what_is_like_no_variable(name):
    """The usual ones are named, and where others belong."""
    with pytest.raises(SettingsError) as error:
        read_settings({"credentials": "tracker"}, {"tracker": {name: "x"}})
    assert str(error.value) == NO_VARIABLE.format(
        str(name),
        "accepted: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN and the like; "
        "set any other variable in the environment",
    )


VARIABLES = """
    mlflow_tracking_username MLFLOW_TRACKING_AWS_SIGV4 MLFLOW_EXPERIMENTAL_S3_SIGNATURE_VERSION MLFLOW_PLUGIN_KEY
    AWS_ACCESS_KEY_ID AZURE_STORAGE_ACCESS_KEY AZUREML_ARTIFACTS_DEFAULT_TIMEOUT GOOGLE_APPLICATION_CREDENTIALS
    DATABRICKS_TOKEN REQUESTS_CA_BUNDLE HTTPS_PROXY
"""


def test_variables_of_file_stores_and_plugins():
    """What MLflow's stores of artifacts read is taken too, and what a plugin of MLflow may."""
    settings = read_settings({"credentials": "tracker"}, {"tracker": dict.fromkeys(VARIABLES.split(), "x")})
    assert list(settings.secrets) == VARIABLES.upper().split()
