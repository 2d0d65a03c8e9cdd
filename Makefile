# Two commands do everything: `make demo` and `make test`. Both build .venv from requirements.lock.

# The first of these that runs, is new enough and can make environments; PYTHON= names another one.
PYTHONS = python3.11 python3.12 python3.13 python3.14 python3
IS_NEW = import sys; sys.exit(sys.version_info < (3, 11))
HAS_VENV = import ensurepip, venv
PYTHON ?= $(shell for python in $(PYTHONS); do \
	$$python -c '$(IS_NEW)' 2>/dev/null && $$python -c '$(HAS_VENV)' 2>/dev/null && echo $$python && break; done)
NODE_PACKAGES = @modelcontextprotocol/server-everything@2026.8.31 axe-core@4.14.1 oidc-provider@9.13.3
NODE_22 = node@22.23.3
CONFORMANCE_PACKAGES = @modelcontextprotocol/conformance@0.2.0-alpha.12 $(NODE_22)
CLIENT_PACKAGES = @modelcontextprotocol/sdk@1.32.2 @modelcontextprotocol/client@2.4.0 \
	@modelcontextprotocol/inspector@2.12.0 $(NODE_22)
FASTMCP = fastmcp==4.2.3
NPM_INSTALL = npm install --no-audit --no-fund --no-save --silent
BIN = .venv/bin
READY = .venv/ready

.PHONY: demo up fleet test test-fast slow chaos fuzz conformance clients check lint types bench lock node schema clean

demo: $(READY)  ## run the main job on a hub of its own and show its result
	$(BIN)/nexus-hub demo

up: $(READY)  ## start everything and stay in the foreground
	$(BIN)/nexus-hub up

fleet: $(READY)  ## start a fleet on this machine: 2 APIs, 3 workers, 2 Prefect servers, Redis, HAProxy; see docs/fleet.md
	$(BIN)/python -m deployments.fleet

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

conformance: $(READY) .node/conformance/ready  ## run the official suite through a hub, beside the reference server alone
	$(BIN)/python -m tests.conformance.run

clients: $(READY) .node/clients/ready  ## run real clients against a hub and print a table of what works
	$(BIN)/python -m tests.clients.run

check: lint types  ## lint, types and import rules

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

node: .node/ready  ## the MCP reference servers, oidc-provider and axe-core for tests; without npm their tests are skipped

.node/ready: Makefile
	@mkdir -p .node
	@if $(NPM_INSTALL) --prefix .node $(NODE_PACKAGES); then touch $@; \
	else echo "npm is missing or can't install: the tests with Node.js servers will be skipped"; fi

.node/conformance/ready: Makefile
	@mkdir -p .node/conformance
	$(NPM_INSTALL) --prefix .node/conformance $(CONFORMANCE_PACKAGES)
	@touch $@

.node/clients/ready: Makefile $(READY)
	@mkdir -p .node/clients
	$(NPM_INSTALL) --prefix .node/clients $(CLIENT_PACKAGES)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .node/fastmcp
	$(BIN)/uv pip install --quiet --python .node/fastmcp/bin/python $(FASTMCP)
	@touch $@

bench: $(READY)  ## measure anew, into benchmarks/results
	$(BIN)/python -m benchmarks.job_latency
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.authentication
	$(BIN)/python -m benchmarks.permissions
	$(BIN)/python -m benchmarks.batch
	$(BIN)/python -m benchmarks.clients
	$(BIN)/python -m benchmarks.cleanup
	$(BIN)/python -m benchmarks.rotation
	$(BIN)/python -m benchmarks.big_tables
	$(BIN)/python -m benchmarks.monitoring
	$(BIN)/python -m benchmarks.rate_limit
	$(BIN)/python -m benchmarks.neighbours
	$(BIN)/python -m benchmarks.sessions
	$(BIN)/python -m benchmarks.watchers
	$(BIN)/python -m benchmarks.console
	$(BIN)/python -m benchmarks.telemetry
	$(BIN)/python -m benchmarks.tool_search
	$(BIN)/python -m benchmarks.tool_search_speed
	$(BIN)/python -m benchmarks.tool_tasks
	$(BIN)/python -m benchmarks.traces

schema: $(READY)  ## write sql/schema.sql anew from the migrations
	NEXUS_WRITE_SCHEMA=1 $(BIN)/pytest -q tests/migration/test_schema_file.py

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock: $(READY)  ## resolve the ranges of pyproject.toml anew
	$(COMPILE) --no-strip-extras --extra dev --output-file requirements.lock pyproject.toml
	$(COMPILE) --no-annotate --extra image --constraint requirements.lock --output-file requirements.image.lock pyproject.toml

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
