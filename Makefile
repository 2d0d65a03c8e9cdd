# Two commands do everything: `make demo` and `make test`. Both build .venv from requirements.lock.

# The first of these that runs, is new enough and can make environments; PYTHON= names another one.
PYTHONS = python3.11 python3.12 python3.13 python3.14 python3
IS_NEW = import sys; sys.exit(sys.version_info < (3, 11))
HAS_VENV = import ensurepip, venv
PYTHON ?= $(shell for python in $(PYTHONS); do \
	$$python -c '$(IS_NEW)' 2>/dev/null && $$python -c '$(HAS_VENV)' 2>/dev/null && echo $$python && break; done)
NODE_PACKAGES = @modelcontextprotocol/server-everything@2026.8.31
BIN = .venv/bin
READY = .venv/ready

.PHONY: demo up test test-fast slow chaos fuzz check lint types bench lock node schema clean

demo: $(READY)  ## run the main job on a hub of its own and show its result
	$(BIN)/nexus-hub demo

up: $(READY)  ## start everything and stay in the foreground
	$(BIN)/nexus-hub up

SPREAD = -n 4 --no-loadscope-reorder

test: $(READY) node  ## run all tests but the slow ones
	$(BIN)/pytest $(SPREAD)

test-fast: $(READY)  ## run the tests that need no hub
	$(BIN)/pytest $(SPREAD) -m "not stack and not slow"

slow: $(READY) node  ## run the tests that take minutes each and that `make test` leaves out
	$(BIN)/pytest -m slow --timeout 1800

SEED ?= $(shell date +%s)
JOBS ?= 1500
KILLS ?= 100
LEASE ?= 30

chaos: $(READY)  ## kill parts at random under many jobs, longer than `make test` does; SEED=, JOBS=, KILLS=, LEASE=
	NEXUS_CHAOS_SEED=$(SEED) NEXUS_CHAOS_JOBS=$(JOBS) NEXUS_CHAOS_KILLS=$(KILLS) NEXUS_CHAOS_LEASE=$(LEASE) \
		$(BIN)/pytest -q --timeout 0 tests/faults/test_chaos.py

TRIES ?= 1000

fuzz: $(READY)  ## call servers that answer in odd ways: five at once, over stdio and over HTTP, so many TRIES each
	NEXUS_FUZZ=$(TRIES) $(BIN)/pytest -q --timeout 0 tests/faults/test_upstream_fuzz.py

check: lint types  ## lint, types and import rules

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

node: .node/ready  ## the MCP reference servers for tests; without npm their tests are skipped

.node/ready: Makefile
	@mkdir -p .node
	@if npm install --prefix .node --no-audit --no-fund --no-save --silent $(NODE_PACKAGES); then touch $@; \
	else echo "npm is missing or can't install: the tests with Node.js servers will be skipped"; fi

bench: $(READY)  ## measure anew, into benchmarks/results
	$(BIN)/python -m benchmarks.job_latency
	$(BIN)/python -m benchmarks.batch
	$(BIN)/python -m benchmarks.cleanup
	$(BIN)/python -m benchmarks.monitoring
	$(BIN)/python -m benchmarks.tool_search

schema: $(READY)  ## write sql/schema.sql anew from the migrations
	NEXUS_WRITE_SCHEMA=1 $(BIN)/pytest -q tests/migration/test_schema_file.py

lock: $(READY)  ## resolve the ranges of pyproject.toml anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-strip-extras --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv .node dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.lock pyproject.toml
	@for python in $(or $(PYTHON),$(PYTHONS)); do \
		$$python -c '$(IS_NEW)' 2>/dev/null || continue; \
		$$python -c '$(HAS_VENV)' 2>/dev/null && exit 0; \
		echo "$$python has no venv module (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; \
	done; echo "Python 3.11 or later is missing; PYTHON=/path/to/python3 names one" >&2; exit 1
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
