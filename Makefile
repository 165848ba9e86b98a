# Every target does its own set-up: a fresh clone needs Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: quickstart test test-long lint check clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "torch>=2.11,<2.14"
	$(BIN)/pip install --quiet -e ".[quickstart,test,lint]"
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/modeledge quickstart $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not long" -n 2 --dist loadgroup $(ARGS)

test-long: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

check: lint test

clean:
	rm -rf $(VENV) build dist src/*.egg-info runs
