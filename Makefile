# Each target sets up what it needs on a machine that has Python 3.11 to 3.13 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test check bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	# torch first, so that nothing else decides on its build
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

install: $(VENV)/.installed

# compose a song in code, separate it, print scores, write stems and a picture to demo/
demo: install
	$(BIN)/stemblend demo --output demo

# one process a core; `make test ARGUMENTS='-n 0 tests/audio'` for some tests in this process
ARGUMENTS ?=
test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal $(ARGUMENTS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

coverage: install
	$(BIN)/python -m pytest --cov --cov-report=term

# speed and memory against norbert and open-unmix, as ratios in one run
bench: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --no-deps openunmix==1.3.0
	$(BIN)/python benchmarks/filters.py
	$(BIN)/python benchmarks/separate.py

clean:
	rm -rf $(VENV) demo .pytest_cache .ruff_cache .coverage
