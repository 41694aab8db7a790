# kubefab. `make demo` shows the whole job on simulated nodes; `make test` runs every test that needs no root and no Docker.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test test-lab nodes dnf lint style types scripts tests faults releases upgrades bench lab lock clean

help:
	@echo 'make demo      bring up, show and reset a cluster of simulated nodes (seconds, no privileges)'
	@echo 'make test      every check and every test without real nodes (two or three minutes, no privileges)'
	@echo 'make test-lab  the tests on real nodes (root, Docker; about 50 minutes, 25 more the first time)'
	@echo 'make faults    many kills of kubefab, power cuts and dropped connections on real nodes (half an hour)'
	@echo 'make releases  the whole story with each known release on real nodes (ten minutes more a release the first time)'
	@echo 'make upgrades  a patch and then a minor release, with full disks and a power cut (a quarter of an hour)'
	@echo 'make bench     how long things take beside ssh, Ansible and pyinfra, on real nodes and a quiet machine (a quarter of an hour)'
	@echo 'make lab       a real cluster on this machine: inv lab.up, then inv cluster.bootstrap --env lab'
	@echo 'make clean     remove .venv and caches of tools; `inv lab.down` removes the lab'

demo: $(VENV)/.runtime
	@$(BIN)/inv rehearsal.down >/dev/null  # start from fresh machines, whatever was rehearsed before
	@echo; echo '$$ inv cluster.bootstrap'; $(BIN)/inv cluster.bootstrap --env rehearsal
	@echo; echo '$$ inv cluster.status'; $(BIN)/inv cluster.status --env rehearsal
	@echo; echo '$$ inv cluster.reset'; $(BIN)/inv cluster.reset --env rehearsal
	@echo; echo 'That was the whole job on simulated nodes. To continue by hand: . $(BIN)/activate; inv -l'

faults: $(VENV)/.dev
	KUBEFAB_FAULTS=all $(BIN)/python -m pytest tests/lab/test_faults.py

releases: $(VENV)/.dev
	KUBEFAB_RELEASES='1.35 1.36 1.37' $(BIN)/python -m pytest tests/lab/test_releases.py

upgrades: $(VENV)/.dev
	KUBEFAB_UPGRADES=all $(BIN)/python -m pytest tests/lab/test_upgrades.py

# What it is measured beside gets environments of its own, from locks with hashes: benchmarks/rivals/*/requirements.txt.
bench: export PYTHONDONTWRITEBYTECODE =
bench:
	@$(PYTHON) -m lab.needs
	@$(MAKE) --no-print-directory $(VENV)/.runtime
	$(BIN)/python -m benchmarks $(BENCH)

lab: $(VENV)/.runtime
	@echo '$$ inv lab.up'; $(BIN)/inv lab.up
	@echo; echo '$$ inv cluster.bootstrap --env lab'; $(BIN)/inv cluster.bootstrap --env lab

# Types run in parallel with the tests: mypy uses one process.  The commands that tests run may write bytecode.
test: export PYTHONDONTWRITEBYTECODE =
test: style
	@$(MAKE) --no-print-directory -j2 types tests scripts

lint: style types scripts

style: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

scripts: $(VENV)/.dev
	$(BIN)/python -m tools.shellcheck

tests: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal

# Checked with any Python, before `.venv` is created.
test-lab:
	@$(PYTHON) -m lab.needs
	@$(MAKE) --no-print-directory $(VENV)/.dev
	@$(MAKE) --no-print-directory -j2 nodes dnf

# The dnf family's tests need no lab, and the lab waits much of its time.
nodes: export PYTHONDONTWRITEBYTECODE =
nodes: $(VENV)/.dev
	$(BIN)/inv lab.build --specs --kubernetes 1.36,1.37
	$(BIN)/python -m pytest tests/lab --ignore tests/lab/test_dnf.py

dnf: $(VENV)/.dev
	$(BIN)/python -m pytest tests/lab/test_dnf.py

# Exact versions with hashes; `make lock` updates them.
lock: $(VENV)/.dev
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade $(LOCK_FLAGS) -o requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade $(LOCK_FLAGS) --extra dev -o requirements-dev.lock pyproject.toml
	for folder in benchmarks/rivals/ansible benchmarks/rivals/pyinfra benchmarks/plot; do \
	  $(BIN)/pip-compile --quiet --upgrade $(LOCK_FLAGS) -o $$folder/requirements.txt $$folder/requirements.in || exit 1; done
LOCK_FLAGS := --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

$(VENV)/.runtime: requirements.lock tools/programs.py | $(BIN)/pip
	@echo 'installing what kubefab needs into $(VENV) (once, under a minute) …'
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -X utf8 -m tools.programs
	@touch $@

$(VENV)/.dev: requirements-dev.lock tools/programs.py | $(BIN)/pip
	@echo 'installing what the tests need into $(VENV) (once, under a minute) …'
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -X utf8 -m tools.programs
	@touch $@ $(VENV)/.runtime

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'kubefab needs Python 3.11 or newer, and `$(PYTHON)` is not: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'Python cannot make virtual environments here. On Debian and Ubuntu:  sudo apt-get install python3-venv' >&2; exit 1; }
	@echo 'making $(VENV) …'
	@$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
