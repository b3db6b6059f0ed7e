# One command each, on any machine with make and Python 3.11 or newer; nothing else is needed.
# The environment in .venv is made from requirements.lock (every version pinned by hash) the
# first time, and again whenever requirements.lock or pyproject.toml is newer than it.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# Named after PYTHON, so that `make test PYTHON=python3.13` never runs on what python3 left behind.
READY := $(VENV)/.ready-$(notdir $(PYTHON))
UV := $(BIN)/uv --quiet
UV_PIP_TARGET := --python $(BIN)/python

# Collecting all tests takes longer than these run.
FAST := client config connectors demo sync/detect sync/extract sync/state sync/test_worker_pool.py \
	errors test_identifiers.py

# More than cores: while some tests wait for a server, a disk or a daemon, others work.
WORKERS = $$($(BIN)/python -c 'import os; print(os.cpu_count() * 3 // 2)')

export DAGSTER_DISABLE_TELEMETRY := 1
# Where it is set, every process compiles Dagster anew, which takes longer than most commands do.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-fast campaign check dev licences sbom audit clean lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS=… is passed on:      make demo ARGS='--integrations 20', make test ARGS='-k resume'"
	@echo "  PYTHON=… chooses Python:  make test PYTHON=python3.13"

setup: $(READY) ## Create or refresh .venv; every target that needs it does so by itself
	@:

demo: $(READY) ## Sync two demo organizations from an embedded provider and compare with its truth
	@$(BIN)/elt-assets demo $(ARGS)

test: $(READY) ## Run the tests, on every core
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-fast: $(READY) ## Run the tests that need no other process, in under a minute
	@$(BIN)/python -m pytest -n auto --dist worksteal -m 'not campaign and not slow and not foreign' \
		-k 'not postgresql' $(addprefix elt_assets_tests/,$(FAST)) $(ARGS)

campaign: $(READY) ## Run the long crash and chaos suites, which `make test` leaves out
	@$(BIN)/python -m elt_assets_tests.campaign hostile
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m campaign \
		$$(grep -rl --include='test_*.py' mark.campaign elt_assets_tests) $(ARGS)

check: $(READY) ## Check style, types, prose, import contracts and that Dagster loads the definitions
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m elt_assets_tests.prose
	@PYTHONWARNINGS='ignore:Function `definitions_validate_command`' \
		$(BIN)/dagster definitions validate -w workspace.yaml

dev: $(READY) ## Start the web UI and the daemon on http://127.0.0.1:3000
	@$(BIN)/elt-assets dev $(ARGS)

licences: $(READY) ## List the licence of every dependency
	@$(BIN)/python .ci/supply_chain.py licences

sbom: $(READY) ## Print a bill of materials (CycloneDX) of what requirements.lock pins
	@$(BIN)/python .ci/supply_chain.py sbom

audit: $(READY) ## Ask for known weaknesses of what requirements.lock pins; needs the internet
	@$(UV) tool run pip-audit --requirement requirements.lock --require-hashes --disable-pip $(ARGS)

clean: ## Remove the environment and every cache; your data in .elt_assets stays
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find elt_assets elt_assets_tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Existing pins are kept; `make lock ARGS=--upgrade` looks for newer versions.
lock: $(READY) ## Pin the dependencies of pyproject.toml in requirements.lock
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes --group dev --group bench \
		--no-emit-index-url --no-emit-find-links --no-header $(ARGS) \
		pyproject.toml -o requirements.lock
	@echo "requirements.lock is up to date with pyproject.toml."

# uv comes from the lock too, by hash, through the pip that the new environment brings.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "elt_assets needs Python 3.11 or newer, and PYTHON=$(PYTHON) is" \
			"$$($(PYTHON) --version 2>/dev/null || echo 'not a working Python')." \
			"Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	@version='import sys; print(sys.version)'; \
	if [ "$$($(BIN)/python -c "$$version" 2>/dev/null)" != "$$($(PYTHON) -c "$$version")" ]; then \
		echo "Creating $(VENV) with $$($(PYTHON) --version)."; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@echo "Installing what requirements.lock pins (1.2 GB of disk; a minute or two the first time)."
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes \
		-r $(VENV)/uv.txt
	@$(UV) pip sync $(UV_PIP_TARGET) --require-hashes requirements.lock
	@$(UV) pip install $(UV_PIP_TARGET) --no-deps --no-build-isolation --editable .
	@touch $@
