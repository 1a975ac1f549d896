export KEDRO_DISABLE_TELEMETRY = 1
export DO_NOT_TRACK = 1
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
OLDEST := .venv-oldest/bin
KFP1 := .venv-kfp1/bin
KFP2 := .venv-kfp2/bin
ENGINES := .venv-engines/bin
PACKAGE := $(CURDIR)/.venv-package/bin
OLDEST_PINS := kedro==0.19.9 mlflow==2.18.0 'sqlalchemy<2.1' 'setuptools<81'
SERVERS ?= 2.18.0 newest
PYTHONS ?= $(shell for each in python3.10 python3.11 python3.12 python3.13; do if $$each -c pass 2> /dev/null; then echo $$each; fi; done)
server_venv = $(if $(filter newest,$(1)),.venv,$(if $(filter 2.18.0,$(1)),.venv-oldest,.venv-server-$(1)))
NO_VENV := { echo "Python could not make an environment. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help demo test coverage test-oldest test-servers test-kubeflow test-engines test-browser package docs pictures bench bench-quick lint clean

help:
	@echo "make demo           make a project from the starter, run it, then show what MLflow holds"
	@echo "make test           run the tests"
	@echo "make coverage       run them, and say which lines none of them reaches; half as long again"
	@echo "make test-oldest    run the tests on the oldest supported Kedro and MLflow"
	@echo "make test-servers   lose answers of MLflow servers of other versions: $(SERVERS)"
	@echo "make test-kubeflow  run the tests inside the tools of Kubeflow Pipelines 1 and 2"
	@echo "make test-engines   run the tests inside Dagster: minutes"
	@echo "make test-browser   see MLflow's pages, Kedro-Viz, charts, a notebook, these docs; needs Chromium"
	@echo "make docs           build the docs as pages, in site/"
	@echo "make package        build the wheel and the sdist, and try the wheel on each Python: $(PYTHONS)"
	@echo "make pictures       draw the pictures of the docs anew; needs Chromium"
	@echo "make bench          measure against MLflow's own functions; 'make bench-quick' in three minutes"
	@echo "make lint           ruff, mypy and who may import whom"
	@echo "make clean          remove environments, caches and the demo"

demo: demo/.stamp
	cd demo && ../$(BIN)/kedro run
	cd demo && ../$(BIN)/kedro metrics show

test: .venv/.stamp .peer/.stamp
	$(BIN)/python -m pytest

coverage: .venv/.stamp .peer/.stamp
	$(BIN)/python -m pytest --cov

test-oldest: .venv-oldest/.stamp
	$(OLDEST)/python -m pytest -m "not newest and not minutes"

test-servers: .venv/.stamp $(foreach version,$(SERVERS),$(call server_venv,$(version))/.stamp)
	SERVER_PYTHONS="$(foreach version,$(SERVERS),$(version)=$(call server_venv,$(version))/bin/python)" \
		$(BIN)/python -m pytest -o addopts="-ra --import-mode=importlib -n2 --dist=worksteal" tests/servers

test-kubeflow: .venv-kfp1/.stamp .venv-kfp2/.stamp
	KFP1=$(KFP1) $(KFP2)/python -m pytest -o addopts="-ra --import-mode=importlib -n2 --dist=worksteal" tests/kfp

test-engines: .venv-engines/.stamp
	$(ENGINES)/python -m pytest -o addopts="-ra --import-mode=importlib" tests/engines

test-browser: .venv/.browser .viz/.stamp docs
	$(BIN)/python -m pytest -o addopts="-ra --import-mode=importlib" tests/browser

docs: .venv-docs/.stamp
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

package: .venv-package/.stamp
	rm -rf dist
	$(PACKAGE)/python -m build --installer uv > /dev/null
	$(PACKAGE)/twine check --strict dist/*
	$(PACKAGE)/check-wheel-contents dist/*.whl
	PATH="$(PACKAGE):$$PATH" DIST=dist PYTHONS="$(PYTHONS)" $(PACKAGE)/python -m pytest --noconftest -o addopts="-ra -n2 --dist=worksteal" tests/package

pictures: .venv/.browser .viz/.stamp
	$(BIN)/python examples/pictures.py

bench: .venv/.stamp .peer/.stamp
	$(BIN)/python benchmarks/saves.py
	$(BIN)/python benchmarks/streams.py
	$(BIN)/python benchmarks/commands.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/engines.py

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
	rm -rf .venv .venv-* .peer .viz demo site .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist
	find kedro_mlflow_metrics tests examples -name __pycache__ -type d -exec rm -rf {} +

.venv/.stamp: pyproject.toml
	python3 -m venv .venv || $(NO_VENV)
	$(BIN)/pip install -q uv
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[test,demo,lint]'
	@touch $@

demo/.stamp: .venv/.stamp
	rm -rf demo
	$(BIN)/kedro new --starter=mlflow-metrics-demo --name=demo
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

.venv-docs/.stamp: pyproject.toml
	python3 -m venv .venv-docs || $(NO_VENV)
	.venv-docs/bin/pip install -q uv
	.venv-docs/bin/uv pip install -q --python .venv-docs/bin/python --group docs
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

.venv-package/.stamp:
	python3 -m venv $(@D) || $(NO_VENV)
	$(PACKAGE)/pip install -q uv
	$(PACKAGE)/uv pip install -q --compile-bytecode --python $(PACKAGE)/python build check-wheel-contents pytest pytest-xdist twine
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

.venv-engines/.stamp: pyproject.toml
	python3 -m venv .venv-engines || $(NO_VENV)
	$(ENGINES)/pip install -q uv
	$(ENGINES)/uv pip install -q --compile-bytecode --python $(ENGINES)/python -e . kedro-dagster==0.8.1 dagster pytest
	@touch $@
