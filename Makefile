# Two commands: `make demo` and `make test`. Each makes .venv and installs what it needs, once.
# Any Python from 3.11 up: make demo PYTHON=python3.12

PYTHON  ?= python3
WORKERS ?= auto
ARGS    ?=

BIN     := .venv/bin
# A worker is one process on one thread: tests share the cores instead of fighting for them.
PYTEST   = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow mutants lint format wheel clean install install-dev

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: install  ## Grow a GPT-2 from nothing: pretraining, SFT, DPO, report (a few minutes, offline)
	@$(BIN)/neogpt demo $(ARGS)

test: lint  ## Lint, types, layers, and every test that takes seconds
	@$(PYTEST) --dist worksteal -m "not slow" $(ARGS)

test-slow: install-dev  ## The tests that take minutes
	@$(PYTEST) --dist load --maxschedchunk 1 -m slow $(ARGS)

mutants: install-dev  ## Put old faults back, one at a time, and see the tests go red (many minutes)
	@$(BIN)/python tools/mutants.py $(ARGS)

lint: install-dev  ## Style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install-dev  ## Rewrite the sources in the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

wheel: install-dev  ## Build dist/neogpt-*.whl
	@$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation -w dist .
	@ls dist/*.whl

clean:  ## Remove .venv and everything that was built; runs/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

install:
	@$(PYTHON) tools/install.py plot

install-dev:
	@$(PYTHON) tools/install.py dev
