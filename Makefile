export KEDRO_DISABLE_TELEMETRY = 1
export DO_NOT_TRACK = 1
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
OLDEST := .venv-oldest/bin
KFP1 := .venv-kfp1/bin
KFP2 := .venv-kfp2/bin
OLDEST_PINS := kedro==0.19.9 mlflow==2.18.0 'sqlalchemy<2.1' 'setuptools<81'
SERVERS ?= 2.18.0 newest
server_venv = $(if $(filter newest,$(1)),.venv,$(if $(filter 2.18.0,$(1)),.venv-oldest,.venv-server-$(1)))
NO_VENV := { echo "Python could not make an environment. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest test-servers test-kubeflow test-browser pictures bench bench-quick lint clean

help:
	@echo "make demo           train the example, then show what MLflow holds"
	@echo "make test           run the tests"
	@echo "make test-oldest    run the tests on the oldest supported Kedro and MLflow"
	@echo "make test-servers   lose answers of MLflow servers of other versions: $(SERVERS)"
	@echo "make test-kubeflow  run the tests inside the tools of Kubeflow Pipelines 1 and 2"
	@echo "make test-browser   see MLflow's pages, Kedro-Viz, a page of charts, a notebook; needs Chromium"
	@echo "make pictures       draw the pictures of the docs anew; needs Chromium"
	@echo "make bench          measure against MLflow's own functions; 'make bench-quick' in two minutes"
	@echo "make lint           ruff, mypy and who may import whom"
	@echo "make clean          remove environments, caches and the example's store"

demo: .venv/.stamp
	cd examples/digits && ../../$(BIN)/kedro run
	@$(BIN)/python examples/show_metrics.py

test: .venv/.stamp .peer/.stamp
	$(BIN)/python -m pytest

test-oldest: .venv-oldest/.stamp
	$(OLDEST)/python -m pytest -m "not newest and not minutes" --no-cov

test-servers: .venv/.stamp $(foreach version,$(SERVERS),$(call server_venv,$(version))/.stamp)
	SERVER_PYTHONS="$(foreach version,$(SERVERS),$(version)=$(call server_venv,$(version))/bin/python)" \
		$(BIN)/python -m pytest -o addopts="-ra --import-mode=importlib -n2 --dist=worksteal" tests/servers

test-kubeflow: .venv-kfp1/.stamp .venv-kfp2/.stamp
	KFP1=$(KFP1) $(KFP2)/python -m pytest -o addopts="-ra --import-mode=importlib -n2 --dist=worksteal" tests/kfp

test-browser: .venv/.browser .viz/.stamp
	$(BIN)/python -m pytest -o addopts="-ra --import-mode=importlib" tests/browser

pictures: .venv/.browser .viz/.stamp
	$(BIN)/python examples/pictures.py

bench: .venv/.stamp .peer/.stamp
	$(BIN)/python benchmarks/saves.py
	$(BIN)/python benchmarks/streams.py
	$(BIN)/python benchmarks/commands.py
	$(BIN)/python benchmarks/scale.py

bench-quick: .venv/.stamp
	$(BIN)/python benchmarks/saves.py --quick
	$(BIN)/python benchmarks/streams.py --quick
	$(BIN)/python benchmarks/commands.py --quick
	$(BIN)/python benchmarks/scale.py --quick

lint: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .venv-oldest .venv-server-* .venv-kfp1 .venv-kfp2 .peer .viz .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist
	rm -rf examples/digits/mlflow.db examples/digits/mlruns examples/digits/.kedro_mlflow_metrics
	find kedro_mlflow_metrics tests examples -name __pycache__ -type d -exec rm -rf {} +

.venv/.stamp: pyproject.toml
	python3 -m venv .venv || $(NO_VENV)
	$(BIN)/pip install -q uv
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[test,demo,lint]'
	@touch $@

.venv/.browser: .venv/.stamp
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[browser]'
	@touch $@

# Kedro-Viz, kept apart as its hooks would run in every other test too; what else it needs, MLflow and Kedro bring.
.viz/.stamp: .venv/.browser
	rm -rf .viz
	$(BIN)/uv pip install -q --no-deps --python $(BIN)/python --target .viz kedro-viz aiofiles click-default-group networkx orjson secure watchfiles
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

# Another version of MLflow, to be a server only; 3.5 and older fail with SQLAlchemy 2.1.
.venv-server-%/.stamp:
	python3 -m venv $(@D) || $(NO_VENV)
	$(@D)/bin/pip install -q uv
	$(@D)/bin/uv pip install -q --compile-bytecode --python $(@D)/bin/python mlflow==$* 'sqlalchemy<2.1'
	@touch $@

# What an image for kedro-kubeflow holds; the MLflow that goes with its pydantic 1 fails with SQLAlchemy 2.1.
.venv-kfp1/.stamp: pyproject.toml
	python3 -m venv .venv-kfp1 || $(NO_VENV)
	$(KFP1)/pip install -q uv
	$(KFP1)/uv pip install -q --compile-bytecode --python $(KFP1)/python -e . kedro-kubeflow==0.11.0 kfp==1.8.24 'sqlalchemy<2.1'
	@touch $@

.venv-kfp2/.stamp: pyproject.toml
	python3 -m venv .venv-kfp2 || $(NO_VENV)
	$(KFP2)/pip install -q uv
	$(KFP2)/uv pip install -q --compile-bytecode --python $(KFP2)/python -e . kfp==2.17.0 docker pytest pytest-xdist
	@touch $@
