# make demo: export, serve, classify real images, check.  make test: everything that must hold.
# make docs: the documentation site.  make bench: what the README and the docs claim, measured (about 20 minutes).
# All set up their own virtual environment, .venv, and say what they do.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test docs bench descriptors

demo: .venv/.demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: .venv/.test
	@echo "== ruff: style and mistakes"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== mypy: types"
	@$(BIN)/mypy
	@echo "== import-linter: which package may import which"
	@$(BIN)/lint-imports --no-logo --no-cache
	@echo "== codespell and proselint: spelling and prose"
	@$(BIN)/codespell
	@$(BIN)/proselint check *.md docs $$(find signatures exporter client server tests examples benchmarks -name '*.py')
	@echo "== pytest: behavior"
	@$(BIN)/python -m pytest -n 2 --dist worksteal --timeout 600 --durations 20

# The documentation site, in site/.
docs: .venv/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# All parts, their plots and docs/benchmarks.md; `.venv/bin/python -m benchmarks head` runs one part and writes nothing.
bench: .venv/.test .venv-clients/.made
	@$(BIN)/python -m benchmarks

# The message classes that the client ships as data, made anew from the installed tensorflow-serving-api.
descriptors: .venv/.test
	@$(BIN)/python tests/client/write_descriptor_set.py

.venv/.demo: pyproject.toml constraints.txt
	@echo "== setting up .venv with TensorFlow (about 2.5 GB, a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) '.[export]'
	@touch $@

.venv/.docs: pyproject.toml constraints.txt
	@echo "== setting up .venv with TensorFlow and the tools of the documentation"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) '.[export,docs]'
	@touch $@

.venv/.test: pyproject.toml constraints.txt
	@echo "== setting up .venv with TensorFlow and the test tools (about 3 GB, a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) '.[export,dev]'
	@touch $@

# Clients to compare with that cannot live beside TensorFlow. Without one, the benchmarks leave out its rows and say so.
.venv-clients/.made: Makefile
	@echo "== setting up .venv-clients with the clients that ours is compared with"
	@$(PYTHON) -m venv .venv-clients/min-tfs-client
	@$(PYTHON) -m venv .venv-clients/tritonclient
	@-.venv-clients/min-tfs-client/bin/pip install --quiet --disable-pip-version-check min-tfs-client==1.0.2 'protobuf<4' grpcio numpy
	@-.venv-clients/tritonclient/bin/pip install --quiet --disable-pip-version-check 'tritonclient[grpc]==2.73.0'
	@touch $@
