export KEDRO_DISABLE_TELEMETRY = 1
export DO_NOT_TRACK = 1
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
OLDEST := .venv-oldest/bin
OLDEST_PINS := kedro==0.19.9 mlflow==2.18.0 'sqlalchemy<2.1' 'setuptools<81'
NO_VENV := { echo "Python could not make an environment. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest bench bench-quick lint clean

help:
	@echo "make demo         train the example, then show what MLflow holds"
	@echo "make test         run the tests"
	@echo "make test-oldest  run the tests on the oldest supported Kedro and MLflow"
	@echo "make bench        measure against MLflow's own functions; 'make bench-quick' in a minute"
	@echo "make lint         ruff and mypy"
	@echo "make clean        remove environments, caches and the example's store"

demo: .venv/.stamp
	cd examples/digits && ../../$(BIN)/kedro run
	@$(BIN)/python examples/show_metrics.py

test: .venv/.stamp .peer/.stamp
	$(BIN)/python -m pytest

test-oldest: .venv-oldest/.stamp
	$(OLDEST)/python -m pytest -m "not newest and not minutes" --no-cov

bench: .venv/.stamp .peer/.stamp
	$(BIN)/python benchmarks/saves.py
	$(BIN)/python benchmarks/streams.py
	$(BIN)/python benchmarks/commands.py

bench-quick: .venv/.stamp
	$(BIN)/python benchmarks/saves.py --quick
	$(BIN)/python benchmarks/streams.py --quick
	$(BIN)/python benchmarks/commands.py --quick

lint: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-oldest .peer .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist
	rm -rf examples/digits/mlflow.db examples/digits/mlruns examples/digits/.kedro_mlflow_metrics
	find kedro_mlflow_metrics tests examples -name __pycache__ -type d -exec rm -rf {} +

.venv/.stamp: pyproject.toml
	python3 -m venv .venv || $(NO_VENV)
	$(BIN)/pip install -q uv
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[test,demo]'
	@touch $@

# kedro-mlflow beside us: kept apart, because its hooks would run in every other test too.
.peer/.stamp: .venv/.stamp
	rm -rf .peer
	$(BIN)/uv pip install -q --no-deps --python $(BIN)/python --target .peer kedro-mlflow==2.0.3 kedro-datasets lazy-loader
	@touch $@

.venv-oldest/.stamp: pyproject.toml
	python3 -m venv .venv-oldest || $(NO_VENV)
	$(OLDEST)/pip install -q uv
	$(OLDEST)/uv pip install -q --compile-bytecode --python $(OLDEST)/python $(OLDEST_PINS) -e '.[test]'
	@touch $@
