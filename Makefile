# make demo    create the environment, install, and climb the embedded example
# make test    create the environment, install for development, and run every test
# make check   style, types, the rule of the rooms, and the freshness of the reference
# make bench   our training beside TRL's and transformers', our answers and our ladder beside others (four hours on 2 idle cores)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Spinning OpenMP threads make torch 10-30 times slower on shared cores; it must be said before torch is imported.
OMP_WAIT_POLICY ?= PASSIVE
GOMP_SPINCOUNT ?= 0
export OMP_WAIT_POLICY GOMP_SPINCOUNT

# A development install, where there is one, serves the demo too; otherwise the demo installs the package as a user would.
INSTALLED := $(if $(wildcard $(VENV)/dev.stamp),$(VENV)/dev.stamp,$(VENV)/demo.stamp)

.PHONY: demo test check bench docs clean

demo: $(INSTALLED)
	$(BIN)/tuneladder climb

# a core for each process: several threads in each would wait for one another
test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/build_cli.py --check
	$(BIN)/python docs/build_lectures.py --check

bench: $(VENV)/bench.stamp
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/answering.py
	$(BIN)/python benchmarks/suites.py
	$(BIN)/python benchmarks/ladder.py
	$(BIN)/python benchmarks/sharing.py
	$(BIN)/python benchmarks/curves.py

docs: $(VENV)/dev.stamp
	$(BIN)/python docs/build_cli.py
	$(BIN)/python docs/build_lectures.py

clean:
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Tuneladder needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml constraints.txt $(shell find src -type f -not -name '*.pyc') | $(BIN)/python
	@echo "installing into $(VENV): about a minute and 1.7 GB the first time"
	$(PIP) .
	@touch $@

# dev.stamp and bench.stamp: an editable install with the extra of that name
$(VENV)/%.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV): about a minute and 1.7 GB the first time"
	$(PIP) -e '.[$*]'
	@touch $@
