# make demo   the whole story on real data, in one page: report/index.html
# make test   the tests, but for the longest; two cores, ten minutes
# make test-all  every test, with XLA as users have it, beside the libraries that a few of them need
# make test-engines  drift over polars, DuckDB, Dask and a local Spark session, which needs Java 17
# make mutants  faults planted in a copy of the sources, one at a time, and whether the tests notice
# make test-newest  the tests on the newest releases of everything; PYTHON=python3.13 on that Python
# make test-lowest  the tests on the lowest versions that pyproject.toml declares
# make check  lint, format, types, import layers
# make docs   the documentation: docs/_build/html/index.html
# make bench  ratios against other libraries, which live in an environment of their own
# make lock   pin anew; `make lock UPGRADE=--upgrade` moves to the newest versions
#
# PYTHON names the interpreter (3.11 or newer); ARGS goes to the command that is run.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
LOCK_VENV ?= .venv-lock
ALL_VENV ?= .venv-all
ENGINES_VENV ?= .venv-engines
NEWEST_VENV ?= .venv-newest
LOWEST_VENV ?= .venv-lowest
ARGS ?=

BIN := $(VENV)/bin
INSTALL := -m pip -qq --disable-pip-version-check install

.PHONY: demo test test-all test-engines test-newest test-lowest mutants check format docs bench lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	@$(BIN)/kullback demo $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 2 -m "not long" $(ARGS)

test-all: $(ALL_VENV)/.all
	@KULLBACK_TEST_OPTIMISED=1 SCIPY_ARRAY_API=1 $(ALL_VENV)/bin/python -m pytest -n 2 $(ARGS)

test-engines: $(ENGINES_VENV)/.engines
	@$(ENGINES_VENV)/bin/python -m pytest -n 0 tests/drift/test_engines.py tests/cli/test_drift.py $(ARGS)

mutants: $(VENV)/.dev
	@$(BIN)/python -m tests.mutants $(ARGS)

test-newest: $(NEWEST_VENV)/.newest
	@$(NEWEST_VENV)/bin/python -m pytest -n 2 $(ARGS)

test-lowest: $(LOWEST_VENV)/.lowest
	@$(LOWEST_VENV)/bin/python -m pytest -n 2 $(ARGS)

check: $(VENV)/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-cache --no-logo
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(VENV)/.dev
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html $(ARGS)
	@echo "docs/_build/html/index.html"

bench: $(BENCH_VENV)/.peers
	@$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(ALL_VENV) $(ENGINES_VENV) $(BENCH_VENV) $(LOCK_VENV) $(NEWEST_VENV) $(LOWEST_VENV) docs/_build docs/_generated report

# Environments. A stamp is touched last, so an interrupted installation starts again.

%/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "kullback needs Python 3.11 or newer: try make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $* || { rm -rf $*; exit 1; }

$(VENV)/.demo: $(VENV)/pyvenv.cfg requirements/demo.txt pyproject.toml
	@echo "Installing pinned versions into $(VENV) (once) ..."
	@$(BIN)/python $(INSTALL) --require-hashes -r requirements/demo.txt
	@$(BIN)/python $(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/pyvenv.cfg requirements/dev.txt pyproject.toml
	@echo "Installing pinned versions and tools into $(VENV) (once) ..."
	@$(BIN)/python $(INSTALL) --require-hashes -r requirements/dev.txt
	@$(BIN)/python $(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

$(ALL_VENV)/.all: $(ALL_VENV)/pyvenv.cfg requirements/dev.txt tests/extras.txt pyproject.toml
	@echo "Installing pinned versions and what a few tests need into $(ALL_VENV) (once) ..."
	@$(ALL_VENV)/bin/python $(INSTALL) --require-hashes -r requirements/dev.txt
	@$(ALL_VENV)/bin/python $(INSTALL) -r tests/extras.txt
	@$(ALL_VENV)/bin/python $(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

$(ENGINES_VENV)/.engines: $(ENGINES_VENV)/pyvenv.cfg requirements/dev.txt tests/engines.txt pyproject.toml
	@echo "Installing pinned versions and the engines into $(ENGINES_VENV) (once) ..."
	@$(ENGINES_VENV)/bin/python $(INSTALL) --require-hashes -r requirements/dev.txt
	@$(ENGINES_VENV)/bin/python $(INSTALL) -r tests/engines.txt
	@$(ENGINES_VENV)/bin/python $(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

# Made anew whenever the requirements change, so that what is newest is newest then.
$(NEWEST_VENV)/.newest: pyproject.toml
	@rm -rf $(NEWEST_VENV) && $(PYTHON) -m venv $(NEWEST_VENV)
	@$(NEWEST_VENV)/bin/python $(INSTALL) --upgrade -e '.[demo,render,test]'
	@touch $@

$(LOWEST_VENV)/.lowest: pyproject.toml $(LOCK_VENV)/.uv
	@rm -rf $(LOWEST_VENV) && $(PYTHON) -m venv $(LOWEST_VENV)
	@$(LOCK_VENV)/bin/uv pip compile pyproject.toml --group build --quiet --no-config --no-emit-index-url \
	  --extra demo --extra render --extra test --resolution lowest-direct --python-version 3.11 \
	  -o $(LOWEST_VENV)/requirements.txt
	@$(LOWEST_VENV)/bin/python $(INSTALL) -r $(LOWEST_VENV)/requirements.txt
	@$(LOWEST_VENV)/bin/python $(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

$(BENCH_VENV)/.peers: $(BENCH_VENV)/pyvenv.cfg requirements/demo.txt benchmarks/peers.txt benchmarks/peers_alone.txt pyproject.toml
	@echo "Installing pinned versions and peers into $(BENCH_VENV) (once) ..."
	@$(BENCH_VENV)/bin/python $(INSTALL) --require-hashes -r requirements/demo.txt
	@$(BENCH_VENV)/bin/python $(INSTALL) -r benchmarks/peers.txt
	@$(BENCH_VENV)/bin/python $(INSTALL) --no-deps -r benchmarks/peers_alone.txt
	@$(BENCH_VENV)/bin/python $(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

# One set of versions for every Python and platform; names, versions and hashes, no addresses.

COMPILE = $(LOCK_VENV)/bin/uv pip compile pyproject.toml --group build --quiet $(UPGRADE) \
  --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-config --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(LOCK_VENV)/.uv
	@$(COMPILE) --extra demo -o requirements/demo.txt
	@$(COMPILE) $(foreach extra,demo render tensorboard test dev docs,--extra $(extra)) -c requirements/demo.txt -o requirements/dev.txt

$(LOCK_VENV)/.uv: $(LOCK_VENV)/pyvenv.cfg
	@$(LOCK_VENV)/bin/python $(INSTALL) uv==0.13.9
	@touch $@
