# Every target makes .venv and installs what it needs. PYTHON: any interpreter from 3.11 on.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint types clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1: /p' Makefile

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("infimix needs Python 3.11 or newer; say which one with make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@echo "Installing into .venv (once; torch is large) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(STAMP)  ## make .venv and install infimix with its tools

demo: $(STAMP)  ## cluster handwritten digits and write runs/demo/report.html
	$(BIN)/infimix demo --out runs/demo --force

lint: $(STAMP)  ## ruff and ruff format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict on the maths
	$(BIN)/mypy

test: $(STAMP)  ## all tests and doctests
	# One process a core, and one thread in each: the fits are small, more threads only wait.
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/pytest -n auto --dist loadfile

check: lint types test  ## what CI runs: lint, types, tests and doctests

clean:  ## remove .venv and the caches; runs/ stays
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
