# One word a task. `make` alone lists them. Everything runs in .venv, which is made on first use.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Processes of the tests: many wait for timers or servers, so there are more than processors.
TESTERS ?= $(shell echo $$((2 * $$(nproc))))
# A hundred servers start in the tests: each would compile all its modules anew.
unexport PYTHONDONTWRITEBYTECODE
# Redis syncs every write of the tests: their files are in memory if it has 4 GB for them, and programs may run there.
ROOM_MB := $(shell findmnt --noheadings --output OPTIONS /dev/shm 2>/dev/null | grep -qv noexec && test -w /dev/shm && \
	df --output=avail --block-size=1M /dev/shm | tail -n 1)
ifeq ($(shell test $(or $(strip $(ROOM_MB)),0) -ge 4096 && echo yes),yes)
export PYTEST_DEBUG_TEMPROOT := /dev/shm
endif
# Files with tests that measure time: these run before the others.
MEASURING = $(shell grep --recursive --files-with-matches --include='test_*.py' 'mark\.alone' tests)
# The part of the tests that needs little time and no program besides Python.
FAST_TESTS := $(wildcard tests/protocol tests/ocs/catalogue tests/ocs/charging tests/ocs/settings/test_loading.py tests/test_docs.py tests/test_messages.py \
	tests/test_rules.py tests/test_conformance.py)

.DEFAULT_GOAL := help
.PHONY: help setup demo days watch test check lint style types contracts compiled docs fuzz bench soak sim kills tools clean

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the virtual environment with the project and its dependencies

# The stamp is newer than pyproject.toml when what it lists is installed.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than 3.11: name another one, as in make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "make: $(PYTHON) cannot make a virtual environment: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup ## server, 2,000 accounts, a busy hour in half a minute, a subscriber's story, audit, out/report.html
	@exec $(BIN)/ocs-sim demo

days: setup ## the week with travel of 2,000 accounts and the bad night, in compressed time: books right; out/days-*.html; ACCOUNTS=300
	$(BIN)/ocs-sim days --scenario week_with_travel --accounts $(or $(ACCOUNTS),2000) --folder out/days-week --report out/days-week.html
	$(BIN)/ocs-sim days --scenario bad_night --accounts $(or $(ACCOUNTS),500) --folder out/days-night --report out/days-night.html

watch: setup ## server under steady traffic, Prometheus, and Grafana if installed: says which address to open; Ctrl-C ends it
	@exec $(BIN)/ocs-sim watch

test: setup tools ## everything: lint, types, import contracts, all tests; TESTERS=1 for one after the other
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint compiled
	$(BIN)/pytest -m alone $(MEASURING)
	$(BIN)/pytest -n $(TESTERS) --dist loadscope --no-loadscope-reorder -m "not alone"

check: setup lint ## the fast part of it, for every change
	$(BIN)/pytest -q $(FAST_TESTS) --ignore=tests/protocol/test_tshark.py

lint: types style contracts

types: setup
	$(BIN)/mypy

style: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

contracts: setup
	$(BIN)/lint-imports

# All files are compiled once, not by each process of the tests.
compiled: setup
	@found=$$($(BIN)/pytest -qq --collect-only) || { echo "$$found" | tail -n 100; exit 1; }

docs: setup ## what is made from data or code: docs/RULES.md, CONFORMANCE.md, SETTINGS.md, runbooks, dashboards, alerts, …
	$(BIN)/python -m tests.rules
	$(BIN)/python -m tests.conformance
	$(BIN)/python -m tests.settings_page
	$(BIN)/python -m tests.rights_page
	$(BIN)/python -m tests.avp_table
	$(BIN)/python -m monitoring

fuzz: setup ## a million inputs against decoding and charging, about five minutes; FUZZ="--runs 50000"
	@exec $(BIN)/python -m tests.fuzz $(FUZZ)

bench: setup ## every figure of docs/PERFORMANCE.md, about ten minutes; BENCH=--quick, --write-docs, --api, "--against FOLDER"
	@exec $(BIN)/python -m benchmarks $(BENCH)

soak: setup ## half load for sixteen minutes: flat memory, no pause; then a day of 100,000 subscribers and the restart storm; SOAK=--quick
	@$(BIN)/python -m benchmarks.soak $(SOAK)
	@exec $(BIN)/python -m benchmarks.soak_scenarios $(filter --quick,$(SOAK))

sim: setup ## the demo at a tenth of its speed, a million steps of the model, 5,000 orders of what subscribers do: an hour; STEPS=200000
	@$(BIN)/ocs-sim demo --speed 12 --folder out/sim --report out/sim-report.html
	@MODEL_STEPS=$(or $(STEPS),1000000) $(BIN)/python -m pytest -q tests/ocs/ledger/test_model.py -k model_does_on_redis_7
	@PROPERTY_EXAMPLES=5000 exec $(BIN)/python -m pytest -q tests/ocs/rules/test_policy_properties.py

kills: setup ## 500 kills (kill -9) of every process while money moves, then the books are compared; out/kills.json; KILLS=100 SEED=2 MORE=--postgresql
	@$(BIN)/python -m tests.faults.kills --kills $(or $(KILLS),500) --seed $(or $(SEED),1) $(MORE)
	@HISTORY_KILLS=50 NOTICE_KILLS=24 exec $(BIN)/python -m pytest -q tests/ocs/history/test_kill.py tests/ocs/notices/test_kill.py

# redis-server, PostgreSQL, tshark, strace, freeDiameter, Node.js and Erlang: what tests need besides Python.
tools:
	@.ci/tools

clean: ## remove what make and the tests made, but for out/ and data/
	rm -rf $(VENV) build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
