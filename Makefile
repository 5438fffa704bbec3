# clickprint. `make help` lists what there is.
PYTHON ?= python3
BIN := .venv/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
DEPENDS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install install-all demo recommend test check golden parity dag spark slow bench results wheel clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.core  ## make .venv with what the demo and the tests need (core, probe, als, recommend, dev)

install-all: .venv/.all  ## the same and the DAG, tracking, Spark and LLM parts

# Debian's python3 comes without ensurepip: there the environment is made bare, and the pip at hand fills it.
.venv/bin/python:
	$(PYTHON) -m venv .venv 2>/dev/null || (rm -rf .venv && $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install pip)

.venv/.core: .venv/bin/python $(DEPENDS)
	$(BIN)/python -m pip install -e ".[probe,als,recommend,dev]"
	@touch $@

.venv/.next: .venv/bin/python $(DEPENDS)
	$(BIN)/python -m pip install -e ".[probe,als,recommend,track,dag,dev]"
	@touch .venv/.core $@

.venv/.all: .venv/bin/python $(DEPENDS)
	$(BIN)/python -m pip install -e ".[probe,als,recommend,ann,track,dag,dev,spark,llm,excel]"
	@touch .venv/.core .venv/.next $@

demo: install  ## the main job on the real Complete Journey log: a board here, a report in runs/complete-journey
	$(BIN)/clickprint run recipes/complete-journey.toml --out runs/complete-journey

recommend: .venv/.next  ## next purchase on the log that recipes/next/params.toml chooses: all stages, the report in runs/next/report
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

test: install  ## the tests (fifteen minutes on two slow cores), and the coverage they must reach
	$(BIN)/python -m pytest -n auto --cov --cov-report= --durations=10
	$(BIN)/python -m coverage report --fail-under=90 --skip-covered
	$(BIN)/python -m coverage report --fail-under=100 --include='*/clickprint/core/*,*/clickprint/metrics/*'

check: install  ## format, lint, types, floors, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

golden: install  ## all six official scores against the organisers' (about five minutes)
	$(BIN)/python -m pytest -m golden

parity: install-all  ## networks that others wrote, with our weights: equal to 1e-5 (a minute)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/parity -r tests/parity/requirements.txt
	$(BIN)/python -m pytest tests/parity -m parity

dag: install-all  ## `dvc repro` on a tiny log: all, nothing, what a change concerns, after a kill (two minutes)
	$(BIN)/python -m pytest -m dag

spark: install-all  ## the same tables on Spark as on DuckDB, in local mode (minutes)
	$(BIN)/python -m pytest -m "spark and not slow"

slow: install  ## the tests that take minutes: a run killed at twenty moments, 1,500 malformed inputs, 800 mutants, ...
	$(BIN)/python -m pytest -m slow

bench: install  ## every benchmark, and docs/results/benchmarks.md (about half an hour)
	$(BIN)/python docs/results/make.py benchmarks

results: demo  ## docs/results/complete-journey.md and the README's picture, from the demo's run folder
	$(BIN)/python docs/results/make.py runs/complete-journey

wheel: install  ## build the wheel, install it in an empty environment, ask its doctor
	rm -rf dist build/wheel && $(BIN)/python -m build --wheel --outdir dist
	$(PYTHON) -m venv --without-pip build/wheel && $(BIN)/python -m pip --python build/wheel/bin/python install --quiet dist/*.whl
	cd build/wheel && bin/clickprint doctor

clean:  ## remove what make made, but not runs
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
