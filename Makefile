# SPDX-License-Identifier: Apache-2.0
#
# Everything is set up by the target that needs it; nothing is installed outside .venv but Debian
# packages (tools/packages-*.txt). PYTHON=python3.X chooses another interpreter.

SHELL := /bin/bash
PYTHON ?= python3
export PYTHON
# Engines of models are megabytes of Python, imported by many short processes: compiled once.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
PACKAGES_TEST := tools/packages-test.txt $(wildcard tests/lab/packages.txt)

# Whatever is compiled twice is compiled once, where ccache is installed (`make test` installs it).
export PATH := /usr/lib/ccache:$(PATH)
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_NOHASHDIR ?= true
export CCACHE_SLOPPINESS ?= pch_defines,time_macros,include_file_mtime,include_file_ctime

.PHONY: help venv build probe test lab bench lint format abi clean packages-build packages-test \
	packages-bench ready models
.DEFAULT_GOAL := help

help: ## show this
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | expand -t 10

packages-build:
	@tools/bootstrap packages tools/packages-build.txt

packages-test:
	@tools/bootstrap packages tools/packages-build.txt $(PACKAGES_TEST)

packages-bench:
	@tools/bootstrap packages tools/packages-build.txt tools/packages-bench.txt

venv: packages-build ## set up .venv: build tools, test tools, the package (editable)
	@mkdir -p build
	@flock build/.lock tools/bootstrap venv test lint bench

build: venv ## build the native parts in place, after a change
	@flock build/.lock $(BIN)/python setup.py --quiet build_ext --inplace

probe: build ## show this machine's devices, then drive a real serial line
	$(BIN)/hal-probe list
	$(BIN)/hal-probe test --pty

# Neither waits for the other: pip unpacks engines of models on one processor.
ready: packages-test venv
	@$(MAKE) --no-print-directory -j2 build models

models: venv ## add the engines and trained models that tests of autoglm need, 2 GB
	@flock build/.models.lock tools/bootstrap models

test: ready ## run every test
	$(BIN)/pytest

lab: packages-test build ## run what needs a newer kernel and QEMU (backports; some minutes)
	$(BIN)/pytest tests/lab/test_newer.py

bench: packages-bench build models ## measure against the peers
	$(BIN)/python -m bench

lint: ready ## ruff, mypy, clang-format, clang-tidy
	$(BIN)/pytest -q tests/test_lint.py

format: packages-test venv ## lay out C, C++ and Python sources evenly
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format --quiet .
	git ls-files '*.c' '*.h' '*.cc' '*.cpp' | xargs clang-format -i

abi: packages-test venv ## record today's ABI as the one to keep
	$(BIN)/python -m tests.abi.record

clean: ## remove all that was built, .venv too
	rm -rf .venv build dist hal/_native *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find hal discovery tests bench \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
