# seqloom's doors. `make compare` and `make test` are all that a newcomer needs; `make` alone lists the rest.
# PYTHON picks the interpreter that makes .venv (3.11 or later); ARGS is passed on to the command behind a target.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
USE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
NATIVE := $(VENV)/.native
CSRC := setup.py seqloom/ops/_native.py $(wildcard csrc/*)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install native compare test check sanitize slow faults docs bench clean

help:  ## list these targets
	@echo "seqloom: make TARGET [PYTHON=python3] [ARGS='...']"
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(USE) $(NATIVE)  ## make .venv and install seqloom into it

compare: $(USE) $(NATIVE)  ## RNN or Transformer? the main job on embedded data; the report goes to runs/compare
	@$(BIN)/seqloom compare --out runs/compare --overwrite $(ARGS)

test: $(DEV) $(NATIVE)  ## all tests but the slow ones and the long fault injection, on every core
	@$(BIN)/python -m pytest -m "not faults and not slow" --numprocesses auto --maxprocesses 8 --dist worksteal $(ARGS)

check: $(DEV)  ## style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo

native: $(DEV)  ## build the C++ kernels of csrc/ in place, or fail
	@SEQLOOM_REQUIRE_NATIVE=1 $(BIN)/python setup.py -q build_ext --inplace
	@touch $(NATIVE)
	@$(BIN)/seqloom doctor | grep '^Native'

# A library with sanitizers needs their runtime before everything else, and the C++ runtime beside it; addresses that
# are drawn from too wide a range are more than some versions can map. Sequences of 1000 steps visit nothing that 65 do
# not, and 33 rows of the wide cells nothing that those of the narrow ones do not.
SANITIZED := build/sanitized
UNDER = $$(setarch -R true 2>/dev/null && echo setarch -R) env LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 SEQLOOM_NATIVE="$$(ls $(SANITIZED)/seqloom/_native*)"
sanitize: $(DEV)  ## the C++ kernels' tests under the address and undefined-behaviour sanitizers of gcc
	@SEQLOOM_REQUIRE_NATIVE=1 $(BIN)/python setup.py -q build_ext --sanitize \
		--build-lib $(SANITIZED) --build-temp $(SANITIZED)/objects
	@sets=$$($(UNDER) $(BIN)/python -c 'from seqloom.ops import _native; print(*_native.usable())'); \
	[ -n "$$sets" ] || { echo "seqloom: the library with sanitizers cannot be loaded" >&2; exit 1; }; \
	echo "seqloom: sanitizers on $$sets, two at a time" >&2; \
	printf '%s\n' $$sets | xargs -P 2 -I SET $(UNDER) SEQLOOM_ISA=SET OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q --capture=sys \
		-p no:cacheprovider tests/ops/test_recurrence.py tests/ops/test_scan.py tests/ops/test_stream.py tests/ops/test_linear.py \
		tests/ops/test_attention.py tests/ops/test_pointwise.py tests/model/test_decoder.py \
		-k 'not (export or loop or blocked or triton or torchs or torch_library or compiled or 1000 or lstm-33 or gru-33)' $(ARGS)

faults: $(DEV) $(NATIVE)  ## kill -9 at 50 random moments, 100 broken workers, full disks, damaged files: minutes
	@$(BIN)/python benchmarks/kill_resume.py --kills 50
	@$(BIN)/python benchmarks/kill_workers.py --faults 100
	@$(BIN)/python -m pytest -m faults $(ARGS)

slow: $(DEV) $(NATIVE)  ## the slow tests, a gigabyte of text among them
	@$(BIN)/python -m pytest -m "slow and not faults" $(ARGS)

docs: $(DEV)  ## build the documentation into docs/_build
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build $(ARGS)
	@echo "docs/_build/index.html"

bench: $(DEV) $(NATIVE)  ## every comparison in benchmarks/, about 50 minutes; writes docs/results/kernels_tables.md
	@mkdir -p runs/bench
	@set -e; for file in benchmarks/*.py; do echo "== $$file" >&2; name=runs/bench/$$(basename $$file .py); \
		$(BIN)/python $$file $(ARGS) > $$name.out; tail -n 1 $$name.out > $$name.json; done
	@$(BIN)/python docs/results/write.py runs/bench

clean:  ## remove caches and built pages; .venv and runs stay
	@rm -rf docs/_build build dist seqloom/_native* $(NATIVE) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# A virtual environment without a working pip (an interrupted first try) is made anew.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "seqloom: '$(PYTHON)' is not installed; install Python 3.11 or later, or name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "seqloom: needs Python 3.11 or later, '$(PYTHON)' is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "seqloom: '$(PYTHON)' lacks venv or ensurepip; on Debian or Ubuntu: apt install python3-venv; or name another: make PYTHON=python3.11" >&2; exit 1; }
	@echo "seqloom: making $(VENV) with $$($(PYTHON) -V)" >&2
	@$(PYTHON) -m venv --clear $(VENV)

$(USE): pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "seqloom: installing (some minutes the first time)" >&2
	@$(PIP) --editable .
	@touch $(USE)

$(DEV): $(USE)
	@echo "seqloom: installing what the tests need" >&2
	@$(PIP) --editable '.[dev,docs]'
	@touch $(DEV)

# Installation builds the kernels quietly. Here they are built again where a source is newer, and where they are missing,
# so that the reason is seen.
$(NATIVE): $(CSRC) | $(USE)
	@ls seqloom/_native* >/dev/null 2>&1 && [ -z "$$(find $(CSRC) -newer $(USE))" ] \
		|| { $(BIN)/python -c 'import setuptools.modified' 2>/dev/null && $(BIN)/python setup.py -q build_ext --inplace; } \
		|| $(PIP) --no-deps --editable .
	@touch $(NATIVE)
