# The two commands are `make run` and `make test`; everything that they need, they set up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE ?= state

.DEFAULT_GOAL := help
.PHONY: help run test check format lock clean

help:
	@echo "make run     run the whole gateway on this machine, to look at (Ctrl-C stops it)"
	@echo "make test    all tests, against a real Postfix, NSD, unbound and Chromium"
	@echo "make check   ruff, mypy, import rules, references"
	@echo "make lock    make the hash-locked requirements anew from pyproject.toml"

# Runtime: from the hash-locked file only.
$(VENV)/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Zegel needs Python 3.11 or newer; name one with PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "The virtual environment could not be made. On Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Installing from requirements.lock …"
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "Installing from requirements-dev.lock …"
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

run: $(VENV)/.run
	@exec $(BIN)/python -m zegel local --folder $(STATE) $(ARGUMENTS)

test: $(VENV)/.dev
	@$(BIN)/python -m tests.peers.debian
	$(BIN)/python -m pytest $(ARGUMENTS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.architecture.references
	$(BIN)/python -m pytest tests/architecture/test_lock.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv (pip install uv)" >&2; exit 1; }
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--only-binary :all: --extra build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--only-binary :all: --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
