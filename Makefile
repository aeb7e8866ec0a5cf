# One short verb per task. `.ci/run` calls the same ones.

CARGO ?= cargo
PYTHON ?= python3
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
SERVER := $(TARGET)/debug/pubsub-server
JS := tests/sdk/js
PY := tests/sdk/python
# Compiled into what writes reports: they are of this commit, whatever is committed until they are written.
COMMIT = PUBSUB_COMMIT=$$(git describe --always --dirty --abbrev=10 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build run test test-rust test-sdk stress stress-extreme bugs limits lint fmt doc fuzz deny hostile clean bench bench-peers microbench instructions

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build every crate
	$(CARGO) build --workspace

run: ## Start the server, open to this machine; ARGS="--port 0" and the like are passed on
	$(CARGO) run -p pubsub-server -- $(ARGS)

test: test-rust ## Run every test; says so if the SDK tests cannot run here
	@if missing=$$(tests/sdk/missing); then \
	  printf '\nSKIPPED: the tests with the published SDKs (make test-sdk). Missing here: %s\n' "$$missing"; \
	else \
	  $(MAKE) --no-print-directory test-sdk; \
	fi

test-rust: ## Run the tests of the crates
	$(CARGO) test --workspace

test-sdk: $(JS)/node_modules/.package-lock.json $(PY)/.venv/.installed ## Drive the built server with the published SDKs
	$(CARGO) build -p pubsub-server
	cd $(JS) && SDK_TEST_SERVER=$(SERVER) node --test --test-concurrency=4 --test-reporter=spec
	cd $(PY) && SDK_TEST_SERVER=$(SERVER) .venv/bin/python -m pytest

$(JS)/node_modules/.package-lock.json: $(JS)/package-lock.json
	cd $(JS) && npm ci
	@touch $@

$(PY)/.venv/.installed: $(PY)/requirements.txt
	rm -rf $(PY)/.venv
	$(PYTHON) -m venv $(PY)/.venv
	$(PY)/.venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

stress: ## A tour of the stress lab: every scenario, small; ARGS="--seed 7" and the like are passed on
	$(COMMIT) $(CARGO) build --release -p pubsub-server -p stress
	$(TARGET)/release/stress run --all --scale 0.02 --jobs 6 --out $(TARGET)/stress $(ARGS)

stress-extreme: ## Every scenario at full size: 17 minutes, 5 of them for two days in virtual time; writes stress_results.md and failure_modes.md
	$(COMMIT) $(CARGO) build --release -p pubsub-server -p stress
	@rm -rf $(TARGET)/stress-extreme
	@# The pages are written also when something is broken, and then above all; what `make bugs` and `make limits` have found
	@# stands on them. After Ctrl-C they stay those of the last whole run, and what was found is told beside its reports.
	@trap 'stopped=yes' INT TERM HUP; verdict=0; \
	  goes_on() { [ -z "$$stopped" ]; }; \
	  $(TARGET)/release/stress run --all --out $(TARGET)/stress-extreme $(ARGS) || verdict=$$?; \
	  if goes_on; then \
	    $(TARGET)/release/stress explore --seeds 100 --twice --out $(TARGET)/stress-extreme || verdict=1; \
	  fi; \
	  if goes_on && command -v taskset >/dev/null; then \
	    taskset -c 0 $(TARGET)/release/stress explore --seeds 100 --out $(TARGET)/stress-extreme/again --like $(TARGET)/stress-extreme/explore.json || verdict=1; \
	  fi; \
	  if goes_on; then \
	    for found in bugs limits; do \
	      if [ -e $(TARGET)/$$found/$$found.json ]; then cp $(TARGET)/$$found/$$found.json $(TARGET)/stress-extreme; fi; \
	    done; \
	    $(TARGET)/release/stress report $(TARGET)/stress-extreme --write stress_results.md --failure-modes failure_modes.md; \
	  else \
	    $(TARGET)/release/stress report $(TARGET)/stress-extreme --write $(TARGET)/stress-extreme/README.md --plots $(TARGET)/stress-extreme; \
	    echo "stopped: stress_results.md and failure_modes.md are as they were; what was found stands in $(TARGET)/stress-extreme/README.md"; \
	    verdict=2; \
	  fi; \
	  exit $$verdict

# In a folder of its own: a binary with bugs in it must never be taken for another.
bugs: ## Plant bugs in server and client, one at a time: the oracle has to find each, and nothing without one (docs/oracle.md)
	$(COMMIT) $(CARGO) build --release -p stress --bin stress --features planted-bugs --target-dir $(TARGET)/planted
	$(TARGET)/planted/release/stress bugs --out $(or $(BUGS_OUT),$(TARGET)/bugs) $(ARGS)

limits: ## Double connections, subscriptions, rate and payload until something gives, and say where and what; minutes
	$(COMMIT) $(CARGO) build --release -p pubsub-server -p stress
	$(TARGET)/release/stress limits --out $(TARGET)/limits $(ARGS)

# One after the other: built together, the server would get the features of the libraries that only the lab needs.
BUILD_BENCH = $(CARGO) build --release -p pubsub-server && $(COMMIT) $(CARGO) build --release -p stress --bin bench

bench: ## Measure what a connection and a delivery cost, beside a floor, and how that grows; writes docs/benchmarks.md
	$(BUILD_BENCH)
	$(TARGET)/release/bench --features --once --growth --out docs/benchmarks.md $(ARGS)

bench-peers: ## The same with the other servers that are installed here; 20 minutes on two cores
	$(BUILD_BENCH)
	$(TARGET)/release/bench --features --once --growth --peers --out docs/benchmarks.md $(ARGS)

microbench: ## Time codec, hub, outbox, engine and the client's delivery by themselves (criterion)
	$(CARGO) bench -p pubsub-protocol -p pubsub-server -p pubsub-client $(ARGS)

instructions: ## Count the instructions of the publish path, and compare them with what is written down; needs valgrind
	.ci/instructions $(ARGS)

hostile: ## Besiege a release build with crowds of PUBSUB_STRESS_CLIENTS; writes what they cost it into docs/security.md
	PUBSUB_HOSTILE_KEEP=keep $(CARGO) test --release -p pubsub-server --test hostile -- --ignored --nocapture --test-threads 1

fuzz: ## Run the coverage-guided fuzzer, SECONDS (60) for each of TARGETS (all); needs a C++ compiler
	fuzz/run $(or $(SECONDS),60) $(TARGETS)

deny: ## Check licences, bans and sources of what we depend on; needs `cargo install cargo-deny --locked` (minutes)
	@command -v cargo-deny >/dev/null || { echo "make deny: cargo-deny is missing: cargo install cargo-deny --locked"; exit 1; }
	$(CARGO) deny check bans licenses sources

lint: ## Check format and lints, warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --features stress/planted-bugs -- -D warnings

fmt: ## Format the code
	$(CARGO) fmt --all

# Maps of modules link to what only those see who work on it, and it is them that this is for.
doc: ## Build the documentation of the crates, warnings as errors
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items

clean: ## Remove what was built and installed
	$(CARGO) clean
	rm -rf $(JS)/node_modules $(PY)/.venv
