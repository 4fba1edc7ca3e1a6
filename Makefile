# Everything runs in .venv. It is made from requirements-dev.lock when first needed, and again when the lock changes.
# `make demo` alone takes only what obol itself needs (requirements.lock); whatever else follows adds the rest.
#
#   make demo    what the caches do for a node: direct, cold, warm, offline      ARGS="--chart docs/demo.svg"
#   make test    the tests; those whose programs are not installed are skipped   ARGS="tests/unit/oci -k range"
#   make bench   measure against the peers that are installed, about 15 minutes   ARGS="--quick --only warm,cold"
#   make soak    what the engine withstands: kills, damage, a full disk, crowds    ARGS="--only kills"
#   make dev-frontend        build examples/frontend and run it in the stack of development mode   FRONTEND_DIR=…
#   make dev-frontend-reset  go back to its released image; docs/development.md
#   make check   all that must hold: format, lint, types, imports, names, sizes, mirror, docs, tests with coverage
#   make format  put the code into the house format, mend what lint can mend
#   make docs    write the generated pages, and make the site of all pages in site/
#   make lock    write the locks from pyproject.toml, keeping what is pinned     UPGRADE=1 takes the newest of all
#   make clean   remove all that was made here

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
SITE := $(VENV)/.site
# --strict: a link or an anchor that leads nowhere is an error.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict
ARGS ?=
UPGRADE ?=

FRONTEND_DIR ?= examples/frontend
FRONTEND_DEPLOYMENT ?= frontend/frontend
# Checkouts share one Docker: each has a name of its own, or one would push what another has just built.
FRONTEND_IMAGE ?= obol-frontend:$(firstword $(shell printf %s '$(CURDIR)' | cksum))
OBOL ?= $(BIN)/obol

PURE := src/obol/oci/*,src/obol/registry/policy/*,src/obol/registry/transfers/segments.py,src/obol/registry/control/api.py,src/obol/rendering/*,src/obol/stack/plan.py
STEPS := check-format check-lint check-types check-imports check-names check-sizes check-mirror check-docs check-tests
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# No index, environment or settings file of the machine may show in a lock.
COMPILE := env -u UV_DEFAULT_INDEX -u UV_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS -u UV_CONSTRAINT \
	$(BIN)/uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url $(if $(UPGRADE),--upgrade)

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test bench soak check format docs lock clean $(STEPS)
.PHONY: dev-frontend dev-frontend-rebuild dev-frontend-reset

help:
	@sed -n 's/^#   //p' Makefile

demo: $(BASE)
	@PYTHONPATH='$(CURDIR)/src' $(BIN)/python -m obol demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

bench: $(READY)
	$(PIP) install --require-hashes --requirement requirements-bench.lock
	$(BIN)/python -m bench $(ARGS)

soak: $(READY)
	$(BIN)/python -m tests.soak $(ARGS)

dev-frontend dev-frontend-rebuild: $(READY)
	docker build $(BUILD) --tag $(FRONTEND_IMAGE) $(FRONTEND_DIR)
	OBOL_DEVELOPMENT=true $(OBOL) dev push $(FRONTEND_IMAGE) --deployment $(FRONTEND_DEPLOYMENT) $(ARGS)

dev-frontend-rebuild: BUILD := --no-cache

dev-frontend-reset: $(READY)
	OBOL_DEVELOPMENT=true $(OBOL) dev reset --deployment $(FRONTEND_DEPLOYMENT) $(ARGS)

check: $(STEPS)
	@printf '\nall checks passed\n'

# $(1) is what is looked at; $(2) the command. The target is what to repeat.
define step
	@printf '\n== %s\n' '$(1)'
	@$(2) || { printf '\n%s: failed. To repeat only this: make %s\n' '$(1)' '$@' >&2; exit 1; }
endef

check-format: $(READY)
	$(call step,format,$(BIN)/ruff format --check .)

check-lint: $(READY)
	$(call step,lint,$(BIN)/ruff check .)

check-types: $(READY)
	$(call step,types,$(BIN)/mypy)

check-imports: $(READY)
	$(call step,import contracts,$(BIN)/lint-imports --no-logo)
	$(call step,descriptors of the store,$(BIN)/python -m scripts.check_descriptors)

check-names: $(READY)
	$(call step,names,$(BIN)/python -m scripts.check_names)

check-sizes: $(READY)
	$(call step,sizes,$(BIN)/python -m scripts.check_sizes)

check-mirror: $(READY)
	$(call step,tests for each package,$(BIN)/python -m scripts.check_tests_mirror)

check-docs: $(READY) $(SITE)
	$(call step,documents,$(BIN)/python -m scripts.check_docs)
	$(call step,the site and its links,$(MKDOCS) --site-dir $(VENV)/site)

check-tests: $(READY)
	@$(BIN)/coverage erase
	$(call step,tests,$(BIN)/coverage run -m pytest -n auto --dist worksteal $(ARGS))
	@$(BIN)/coverage combine --quiet
	$(call step,coverage of the pure packages,$(BIN)/coverage report --include='$(PURE)' --fail-under=100)
	$(call step,coverage of everything,$(BIN)/coverage report --fail-under=90)

format: $(READY)
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

docs: $(READY) $(SITE)
	$(BIN)/python -m scripts.generate_cli_doc
	$(BIN)/python -m scripts.generate_errors_doc
	$(BIN)/python -m scripts.generate_json_doc
	$(BIN)/python -m scripts.generate_schemas
	$(BIN)/python -m scripts.generate_settings_doc
	$(MKDOCS)

# Does not depend on the environment being up to date, so that it can mend a lock that cannot be installed.
lock:
	@[ -x $(BIN)/uv ] || $(MAKE) --no-print-directory $(READY)
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --group dev --output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --group bench --output-file requirements-bench.lock
	$(COMPILE) --constraint requirements-dev.lock --group docs --output-file requirements-docs.lock
	$(COMPILE) --constraint requirements-dev.lock --group build --output-file requirements-build.lock

clean:
	rm -rf $(VENV) .cache dist site htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache
	find src tests scripts -type d -name __pycache__ -prune -exec rm -rf {} +

# A pip that is at hand fills the environment: to put one into it takes as long as all of the rest. Bytecode is left to
# the first run, which needs little of it.
BARE := --no-deps --no-compile --require-hashes --requirement requirements.lock
$(BASE): requirements.lock
	@printf 'Making an environment for obol in $(VENV), which takes about 10 seconds … '; began=$$(date +%s); \
	{ $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python \
		--disable-pip-version-check --quiet --quiet install $(BARE) 2>/dev/null; } || \
	{ $(PYTHON) -m venv --clear $(VENV) && $(PIP) install $(BARE); } && \
	touch $@ && printf 'done in %s s\n' $$(($$(date +%s) - began))

# What `make demo` has made is kept; an environment with the tools is made anew, so that it has no more than the lock.
$(LOCKED): requirements-dev.lock
	@[ -e $(BASE) ] && [ ! -e $@ ] || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
	@touch $(BASE) $@

$(SITE): $(LOCKED) requirements-docs.lock
	$(PIP) install --require-hashes --requirement requirements-docs.lock
	@touch $@

# Compiled, as it is wherever it is installed: else each start does it again where Python may not write bytecode.
$(READY): $(LOCKED) pyproject.toml
	$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) check || { echo 'the lock does not fit pyproject.toml: make lock' >&2; exit 1; }
	@$(BIN)/python -m compileall -q src
	@touch $@
