# The project's commands. They say what they do, ask nothing, and may be given again.

# A file's tests stay together, as they share what is dear to make.
PYTEST = .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile
.DEFAULT_GOAL = help
.NOTPARALLEL:

.PHONY: help install install-tests demo demo-stop demo-clean test test-all lint lock

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS='	' read -r target words; do \
		printf 'make %-12s %s\n' "$$target" "$$words"; done

install: ## install what is missing on this machine, and the Python environment in .venv
	@scripts/install.sh

install-tests:
	@scripts/install.sh --tests

demo: install ## start a farm here, make two trunks, and follow commits to an installed package
	@.venv/bin/buildfarm demo

demo-stop: ## stop the demonstration's farm; it can be started again
	@[ ! -x .venv/bin/buildfarm ] || .venv/bin/buildfarm demo --stop

demo-clean: ## stop it and forget all it made
	@[ ! -x .venv/bin/buildfarm ] || .venv/bin/buildfarm demo --clean

test: install-tests ## run the tests that take no long builds
	$(PYTEST) -m "not slow"

test-all: install-tests lint ## run everything: lint, types, and all tests, real builds included
	$(PYTEST)

lint: install ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

lock: install ## resolve pyproject.toml anew into requirements.lock
	@scripts/lock.sh --upgrade
