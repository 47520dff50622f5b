# One command per purpose; each makes its own virtual environment first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# bytecode is kept, whatever the caller's environment says: the tests and the demo start many processes
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check smoke bench clean
help:  ## what there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed: make PYTHON=..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@

demo: $(VENV)/ready  ## the approval workflow and a release, played for real on SQLite
	$(BIN)/jobctl demo
	PYTHON=$(CURDIR)/$(BIN)/python examples/release_demo.sh

test: $(VENV)/ready  ## the tests, on PostgreSQL and SQLite
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

check: $(VENV)/ready  ## all that a change must pass
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

smoke: $(VENV)/ready  ## whether the benchmarks run, on small sizes
	$(BIN)/python -m pytest --numprocesses 2 -m smoke tests/acceptance/test_benchmarks.py

bench: $(VENV)/ready  ## what it reaches, measured; BENCH="plain chains" for some, --help for more
	$(BIN)/python -m benchmarks $(BENCH)

clean:  ## remove what the other commands made
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
