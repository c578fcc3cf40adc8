# Every target works on a fresh clone with Python 3.11 or newer: it installs what it needs first. (loadtest also needs
# ghz, or Go to install it with.)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUB_VENV := .venv-protos
STUB_BIN := $(STUB_VENV)/bin
MUTANT_VENV := .venv-mutants
GENERATE := $(STUB_BIN)/python deploy/generate_stubs.py
IAP_CHAOS_KILLS ?= 300
IAP_CHAOS_SECONDS ?= 300
SOURCES := broker_service provider_service client_stub mesh_runtime deploy bench examples tests

.DEFAULT_GOAL := help
.PHONY: help setup demo run test check lint type format protos protos-check imports loadtest chaos soak bench mutants \
	constraints clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## Install the project and its tools into .venv

demo: setup  ## Show the whole path: buy a pack, use a service, see the books (a few seconds)
	@$(BIN)/python -m deploy.demo

run: setup  ## Start a broker and a provider, seeded, and print lines to paste
	@$(BIN)/python -m deploy.run

# Three workers keep two CPUs busy, as tests wait a good deal for processes and time.
# Compiled modules are kept even where Python is told not to: the tests start the same programs again and again.
test: export PYTHONDONTWRITEBYTECODE =
test: setup  ## Run all tests
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

loadtest: setup  ## Load a broker and a provider with ghz, then check the books
	@$(BIN)/python -m bench.loadtest

bench: setup  ## Measure everything against its baselines, into docs/performance.md (about 45 minutes)
	@$(BIN)/python -m bench --publish

# Prints its seed; with IAP_CHAOS_SEED=… it makes the same choices again, though not at the same instants.
chaos: setup  ## Crash brokers, providers and databases under load, IAP_CHAOS_KILLS=300 times each, then check the books
	IAP_CHAOS_KILLS=$(IAP_CHAOS_KILLS) $(BIN)/python -m pytest -n 2 --dist loadfile -rP --show-capture=stdout \
		tests/chaos/test_killed_brokers.py tests/chaos/test_killed_sales.py tests/chaos/test_crashed_databases.py \
		tests/chaos/providers

soak: setup  ## Test whole processes on both databases, and the models for IAP_CHAOS_SECONDS=300 each along other paths
	IAP_E2E_DATABASES=all IAP_CHAOS_SECONDS=$(IAP_CHAOS_SECONDS) $(BIN)/python -m pytest -n 2 --dist loadfile \
		tests/e2e tests/ledger_model tests/money_model

mutants: $(MUTANT_VENV)/.installed  ## Change the ledger's rules spot by spot to see whether a test notices (about 5 minutes)
	@$(MUTANT_VENV)/bin/python deploy/mutants.py

check: lint type imports protos-check test  ## Everything CI checks

lint: setup $(STUB_VENV)/.installed  ## Check style, and the contract with buf
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(GENERATE) image $(STUB_VENV)/contract.binpb
	$(BIN)/buf lint $(STUB_VENV)/contract.binpb --config protos/buf.yaml --path iap

type: setup  ## Check types
	$(BIN)/mypy

imports: setup  ## Check that imports point one way
	$(BIN)/lint-imports

format: setup  ## Format the code
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

protos: $(STUB_VENV)/.installed  ## Generate the stubs from protos/
	@$(GENERATE) write 2> $(STUB_VENV)/generate.log || { cat $(STUB_VENV)/generate.log; exit 1; }

protos-check: $(STUB_VENV)/.installed  ## Fail if the stubs checked in are not those of protos/
	@$(GENERATE) check 2> $(STUB_VENV)/generate.log || { cat $(STUB_VENV)/generate.log; exit 1; }

constraints: setup  ## Pin what is installed in .venv, after an upgrade
	head -n 1 constraints.txt > constraints.new
	$(BIN)/pip list --format=freeze --exclude iap-mesh --exclude pip --exclude setuptools >> constraints.new
	mv constraints.new constraints.txt

clean:  ## Remove what the targets made
	rm -rf $(VENV) $(STUB_VENV) $(MUTANT_VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with PYTHON=…"; exit 2; }
	@echo "installing into $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@touch $@

$(STUB_VENV)/.installed: deploy/stub-generator.txt
	@$(PYTHON) -m venv $(STUB_VENV)
	@$(STUB_BIN)/pip install --quiet --disable-pip-version-check --requirement deploy/stub-generator.txt
	@touch $@

$(MUTANT_VENV)/.installed: deploy/mutants.txt
	@$(PYTHON) -m venv $(MUTANT_VENV)
	@$(MUTANT_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement deploy/mutants.txt
	@touch $@
