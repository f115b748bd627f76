# Everything a person does from a clone. `make` alone lists it. Nothing but Python 3.11 or newer is needed for
# `install`, `demo` and `test`; `check` and `kafka` also want a JVM and Maven.

.DEFAULT_GOAL := help
.PHONY: help install demo test check conformance lint types kafka bench faults soak lock clean

# The first Python that is new enough, plain `python3` before the others.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
INSTALLED := .venv/.installed

# What `make check` runs of the tests; empty is all. `.ci/run` leaves out what `make test` has already run.
ONLY ?=

# Models answer offline unless a key is set.
OFFLINE := $(if $(OPENAI_API_KEY),,--offline)
DEMO := pipelines/production/literature-digest-v1.0.0.yaml
EVENTS := pipelines/data/literature.jsonl
RESULTS := out/literature-results.jsonl

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## the environment in .venv, locked dependencies, the command .venv/bin/stream-orchestrator

# The stamp makes a second `install` instant; a changed lock or pyproject.toml installs again.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer was found" >&2; \
		echo >&2; echo "hint: install one, or name it: make install PYTHON=/path/to/python3" >&2; exit 3; }
	@test -x $(BIN)/python || { echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	@echo "installing the locked dependencies (a minute, the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## the main job on a real text collection, on the embedded broker
	@mkdir -p out
	@echo "$(DEMO) on $(EVENTS), models answered $(if $(OFFLINE),offline (set OPENAI_API_KEY for a real one),by a real service)"
	$(BIN)/stream-orchestrator run $(DEMO) --input $(EVENTS) --output $(RESULTS) --broker embedded $(OFFLINE)
	@$(BIN)/python pipelines/data/show_digest.py $(RESULTS)

test: install ## the tests that need nothing but Python
	$(BIN)/python -m pytest -m "not kafka and not slow" -n logical --maxprocesses 4 --dist worksteal

check: install lint types ## everything: lint, types, all tests, real services
	$(BIN)/python -m pytest $(if $(ONLY),-m "$(ONLY)")

# Nothing of the document is copied here: without it there is one line that says so. CONFORMANCE_DOCUMENT=PATH names it.
conformance: install ## every YAML block of the user's document, compiled and run, with a table block by block
	$(BIN)/python -m pytest -rsx tests/conformance

lint: install ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## static types
	$(BIN)/mypy

kafka: install ## a one-node Apache Kafka in the foreground
	$(BIN)/python tests/support/kafka.py

bench: install ## every benchmark of bench/, one after another
	$(BIN)/python -m bench

FIGURES := out/faults.jsonl
MINUTES ?= 60

faults: install ## every fault, struck into real processes on real Kafka; the figures go to docs/faults.md
	@mkdir -p out && rm -f $(FIGURES)
	FAULTS=full FAULTS_FIGURES=$(FIGURES) $(BIN)/python -m pytest -s tests/faults; played=$$?; \
		$(BIN)/python tests/faults/table.py $(FIGURES) docs/faults.md; exit $$played

soak: install ## modest load and random faults for MINUTES=60: nothing is lost, and nothing grows
	FAULTS=full SOAK_MINUTES=$(MINUTES) $(BIN)/python -m pytest -s tests/faults/test_soak.py

LOCK := $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-annotate --quiet \
	--python-version 3.11 --custom-compile-command "make lock"

lock: install ## resolve the dependencies again, for every platform
	$(LOCK) --all-extras --upgrade --output-file requirements.lock
	$(LOCK) --extra scripts --constraint requirements.lock --output-file deploy/requirements.lock

clean: ## remove everything that was made here
	rm -rf .venv build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .kafka
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
