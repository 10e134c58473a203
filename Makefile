# The same verbs for people and for CI. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PEERS  := $(VENV)/.peers

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check peers bench format clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Pinned versions, so that a demo next year installs what was tested today.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "celltwin needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	@echo "installing into $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

# What ours is compared with; apart, so that neither the demo nor the first test waits for it.
$(PEERS): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,validation]'
	@touch $(PEERS)

# The tests start some hundred interpreters; where this is set, each would compile our sources anew.
test test-long: export PYTHONDONTWRITEBYTECODE =

demo: $(READY) ## run a simulated line: 24 h of plant time in about 90 s, live page and report
	@$(BIN)/celltwin demo

test: $(READY) ## run the tests (five minutes on two cores, 45 s more the first time; they wait for each other's programs, hence three workers)
	@PYTHONPATH=. $(BIN)/python tests/warm.py
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not long'

test-long: $(READY) ## the tests that take minutes: broken networks, scenarios, foreign clients, the pilot line
	@PYTHONPATH=. $(BIN)/python tests/warm.py
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m long

check: $(READY) ## lint, format, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

peers: $(PEERS) ## install PyBaMM too, so that tests/validation runs instead of being skipped

bench: $(PEERS) ## run every benchmark, print a table, write bench/results.json
	@$(BIN)/python -m bench.run_all

format: $(READY) ## format the code and sort the imports
	@$(BIN)/ruff check --fix --select I,RUF100 .
	@$(BIN)/ruff format .

clean: ## remove the environment, caches and runs
	@rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
