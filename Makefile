# `make demo` and `make test` do everything, the virtual environment included.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# CI is patient: it runs the slow tests too.
SLOW := $(if $(CI),,-m "not slow")

.PHONY: setup demo test check audit format bench evolution quality quality-peers torture mutants clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/nmt train
	head -n 12 data/phrasebook/test.en > input.txt
	$(BIN)/nmt translate < input.txt > output.txt
	@paste -d '\n' input.txt output.txt | sed 'n; s/^/    -> /'
	$(BIN)/nmt eval --bleu

# One process a core. Those with nothing left take from what the others have not begun.
test: setup
	$(BIN)/pytest --numprocesses auto --dist worksteal $(SLOW)

check: setup audit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict nmt data/phrasebook.py

# Known holes in what is pinned, where the service that knows them can be reached.
audit: setup
	$(BIN)/python tests/audit.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Installs the peers (several GB in .bench/ or $NMT_BENCH) and measures for more than an hour; ARGS=--help lists options.
bench: setup
	$(BIN)/python tests/bench $(ARGS)

# Trains the history of attention on Multi30k, two hours on two cores, and writes a page; SEEDS=3 for the main contrast.
evolution: setup
	$(BIN)/python tests/evolution $(ARGS)

# Trains what docs/quality.md compares, hours on two cores; ARGS="--seeds 1 --only rdrop" some of it, --max-steps 20 a try.
quality: setup
	$(BIN)/python tests/quality $(ARGS)

# Trains nmt and its peers on few pairs for the same time, an hour on two cores; the peers' environments are those of bench.
quality-peers: setup
	$(BIN)/python tests/quality/peers.py $(ARGS)

# Tries every promise of reliability many times; ARGS="--share 0.1" tries a tenth.
torture: setup
	$(BIN)/python tests/reliability $(ARGS)

# Breaks the code on purpose and sees that the tests notice.
mutants: setup
	$(BIN)/python tests/reliability/mutants.py $(ARGS)

clean:
	rm -rf $(VENV) runs input.txt output.txt
