# The two commands are `make run` and `make test`; everything that they need, they set up.
# The system's Python where it will do, else the first in the path: a distribution's is built with profiles of its use,
# one that was built by hand often isn't, and takes a tenth to a quarter more time for the same work (docs/benchmarks.md).
FITS := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for one in /usr/bin/python3 python3; do $$one -c "$(FITS)" 2>/dev/null && break; done; echo $$one)
VENV := .venv
BIN := $(VENV)/bin
STATE ?= state
FUZZ := .fuzz-venv
SECONDS ?= 60
WORKERS ?= 3
PICTURES ?= screenshots
TRY ?= /var/tmp/zegel-installation
TARGETS ?= smtp_server content address

# What is started a thousand times is compiled once, wherever that was switched off.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-postgresql check format lock clean screenshots bench-submission bench-delivery bench-portal fuzz \
	try-installation

help:
	@echo "make run     run the whole gateway on this machine, to look at (Ctrl-C stops it)"
	@echo "make test    all tests, against a real Postfix, NSD, unbound and Chromium"
	@echo "make test-postgresql     tests on a PostgreSQL instead of SQLite (CONTRIBUTING.md)"
	@echo "make check   ruff, mypy, import rules, references"
	@echo "make fuzz    hostile octets for SECONDS=60 at each target; see fuzz/README.md"
	@echo "make bench-submission    the submission server beside Debian's Postfix (docs/benchmarks.md)"
	@echo "make bench-delivery      readable delivery beside Debian's Postfix (docs/benchmarks.md)"
	@echo "make bench-portal        a hundred readers at once; pages, clicks and weight (docs/benchmarks.md)"
	@echo "make screenshots         every page in every state, into $(PICTURES)/index.html"
	@echo "make try-installation    docs/installing.md on a whole Debian 12, and in containers; as root (CONTRIBUTING.md)"
	@echo "make lock    make the hash-locked requirements anew from pyproject.toml"

# Runtime: from the hash-locked file only, which is whole: with --no-deps pip looks for nothing else.
$(VENV)/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Zegel needs Python 3.11 or newer; name one with PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "The virtual environment could not be made. On Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Installing from requirements.lock …"
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "Installing from requirements-dev.lock …"
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

run: $(VENV)/.run
	@exec $(BIN)/python -m zegel local --folder $(STATE) $(ARGUMENTS)

# Files side by side: most of a test's time is waiting for a server. WORKERS=0: one after the other, in one process.
test: $(VENV)/.dev
	@$(BIN)/python -m tests.peers.debian
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder $(ARGUMENTS)

# As root, with debootstrap and systemd-nspawn; prints what it saw, and fails where something isn't so.
try-installation: $(VENV)/.dev
	@$(BIN)/python -m tests.installing $(TRY) $(ARGUMENTS)

# What asks the database itself, and not SQLite's file, runs on either; ARGUMENTS names others.
test-postgresql: $(VENV)/.dev
	@$(BIN)/python -m tests.peers.debian
	ZEGEL_TEST_DATABASE=postgresql $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile \
		--no-loadscope-reorder $(or $(ARGUMENTS),tests/journey tests/web tests/edge/test_database.py)

# To be looked at by people: SCENES="guest inbox" takes some, by the beginning of their names.
screenshots: $(VENV)/.dev
	@$(BIN)/python -m tests.peers.debian
	@$(BIN)/python -m tests.browser.screenshots $(PICTURES) $(SCENES)

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

# atheris is in no lock file: what fuzzes is not what runs.
$(FUZZ)/.ready: requirements.lock fuzz/requirements.txt
	@test -x $(FUZZ)/bin/python || $(PYTHON) -m venv $(FUZZ)
	@echo "Installing from requirements.lock and fuzz/requirements.txt …"
	@$(FUZZ)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --only-binary :all: \
		-r requirements.lock -r fuzz/requirements.txt
	@touch $@

fuzz: $(FUZZ)/.ready
	@mkdir -p .fuzz/found
	@$(FUZZ)/bin/python -m fuzz.seeds .fuzz/corpus
	@failed=0; for target in $(TARGETS); do \
		echo "$$target: $(SECONDS) seconds; all of it is in .fuzz/$$target.log"; \
		$(FUZZ)/bin/python -m fuzz.fuzz_$$target .fuzz/corpus/$$target -dict=.fuzz/corpus/$$target.dict \
			-artifact_prefix=.fuzz/found/$$target- -max_total_time=$(SECONDS) -max_len=4096 -timeout=20 \
			-rss_limit_mb=1024 -print_final_stats=1 >.fuzz/$$target.log 2>&1 || failed=1; \
		grep -aE 'INITED|DONE|stat::number|Error|File "|Test unit' .fuzz/$$target.log; \
	done; exit $$failed

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv (pip install uv)" >&2; exit 1; }
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--only-binary :all: --extra build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--only-binary :all: --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

# Never part of the tests: what they print depends on the machine, and on what else the machine does.
bench-submission: $(VENV)/.dev bench/build/smtpload bench/build/smtpsink
	@$(BIN)/python -m tests.peers.debian
	@$(BIN)/python -m bench.submission $(ARGUMENTS)

bench-delivery: $(VENV)/.dev bench/build/smtpload bench/build/smtpsink
	@$(BIN)/python -m tests.peers.debian
	@$(BIN)/python -m bench.delivery $(ARGUMENTS)

bench-portal: $(VENV)/.dev
	@$(BIN)/python -m tests.peers.debian
	@$(BIN)/python -m bench.portal $(ARGUMENTS)

bench/build/%: bench/%.c bench/smtpperf.h
	@command -v cc >/dev/null && test -e /usr/include/openssl/ssl.h || \
		{ echo "The benchmark needs a C compiler and OpenSSL. On Debian: apt install gcc libssl-dev" >&2; exit 1; }
	@mkdir -p bench/build
	cc -O2 -Wall -Wextra -o $@ $< -lssl -lcrypto

clean:
	rm -rf $(VENV) build bench/build *.egg-info .pytest_cache .mypy_cache .ruff_cache
