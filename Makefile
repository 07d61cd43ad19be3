# Needs only make and Python 3.11 or newer. Every version that is installed is pinned in constraints.txt.

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=

RUN := .venv/bin
DEV := .venv-dev/bin
PIP_INSTALL := -m pip install -qq --disable-pip-version-check --constraint constraints.txt
# The build backend is installed first, from the same pins, so that no build fetches another version of it.
PROJECT := --no-build-isolation --editable
# The matrices are small: threads of the linear algebra library would only compete with the test workers.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

define require_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
  echo "Fairlead needs Python 3.11 or newer, but '$(PYTHON)' says: $$($(PYTHON) --version 2>&1)" >&2; \
  echo "Remedy: name a newer interpreter, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
  exit 1; }
endef

.DEFAULT_GOAL := help
.PHONY: help demo test check bench peers peers-ope clean

help:  ## show this list
	@echo "Fairlead learns which LLM provider gives the best trade-off for each request."
	@echo "Targets (make TARGET):"
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-11s %s\n", $$1, $$2 }'
	@echo "Settings: PYTHON=python3.12 (interpreter), WORKERS=2 (parallel tests), ARGS='-k name' (for pytest, demo, bench)"

demo: .venv/ready  ## show on the bundled sample what routing earns
	@$(RUN)/fairlead demo $(ARGS)

test: check  ## run every check, then every test
	@echo "Running the tests with $(WORKERS) workers"
	@$(ONE_THREAD) $(DEV)/python -m pytest -n $(WORKERS) $(ARGS)

check: .venv-dev/ready  ## check style, format, types and what may import what
	@echo "Checking style, format, types and imports"
	@$(DEV)/ruff check --quiet .
	@$(DEV)/ruff format --check --quiet . || { echo "Remedy: $(DEV)/ruff format ."; exit 1; }
	@$(DEV)/mypy
	@$(DEV)/lint-imports --no-logo

bench: .venv-dev/ready  ## measure against the best fixed mix and published results
	@$(ONE_THREAD) $(DEV)/python -m fairlead.experiments.benchmarks $(ARGS)

peers: .venv-peers/ready  ## install the routers that make bench compares with, in an environment of their own

peers-ope: .venv-obp/ready  ## install obp, which make bench compares off-policy estimates with

clean:  ## remove the environments, caches and build results
	@rm -rf .venv .venv-dev .venv-peers .venv-obp build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Removed environments, caches and build results"

# The stamp is written last: a set-up that was interrupted starts from nothing again.
.venv/ready: pyproject.toml constraints.txt
	$(require_python)
	@echo "Setting up .venv with what replays and charts need (once, a minute or two)"
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(RUN)/python $(PIP_INSTALL) hatchling
	@$(RUN)/python $(PIP_INSTALL) $(PROJECT) '.[replay,report]'
	@touch $@

.venv-dev/ready: pyproject.toml constraints.txt
	$(require_python)
	@echo "Setting up .venv-dev with every extra and the development packages (once, a minute or two)"
	@rm -rf .venv-dev && $(PYTHON) -m venv .venv-dev
	@$(DEV)/python $(PIP_INSTALL) hatchling
	@$(DEV)/python $(PIP_INSTALL) $(PROJECT) '.[all,dev]'
	@touch $@

# Peers pin other versions of the same libraries, so they never share an environment with Fairlead.
.venv-peers/ready:
	$(require_python)
	@echo "Setting up .venv-peers with paretobandit and vowpalwabbit (once, a few minutes)"
	@rm -rf .venv-peers && $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -qq --disable-pip-version-check paretobandit==0.1.1 vowpalwabbit==9.11.9
	@touch $@

# obp asks for Python below 3.11 and for torch, but off-policy evaluation needs neither (obp_process.py); the
# other versions are those that obp itself pins, and have no wheels for Python 3.12 and newer.
.venv-obp/ready:
	$(require_python)
	@echo "Setting up .venv-obp with obp (once, a minute or two)"
	@rm -rf .venv-obp && $(PYTHON) -m venv .venv-obp
	@.venv-obp/bin/python -m pip install -qq --disable-pip-version-check numpy==1.23.5 scipy==1.9.3 \
	  scikit-learn==1.1.3 pandas==1.5.2 matplotlib==3.7.5 seaborn==0.11.2 pyyaml==6.0.4 tqdm==4.67.1
	@.venv-obp/bin/python -m pip install -qq --disable-pip-version-check --no-deps --ignore-requires-python obp==0.5.7
	@touch $@
