# What a newcomer types. Each target brings what it needs; a second run is quick.

.PHONY: help demo test check fuzz docs bench install uninstall debian lock clean
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin

help:
	@echo 'make demo       five nodes on this machine: found, join, carry, resolve, lose the founder, resolve again'
	@echo 'make test       every test (as root also those in network namespaces; installs what they need)'
	@echo 'make check      ruff, mypy --strict, the rules of the house'
	@echo 'make fuzz       every decoder for a minute (docs/fuzzing.md); crashers go to build/crashers.txt'
	@echo 'make docs       the reference pages of docs/, from the tables of the program'
	@echo 'make bench      measurements, written below benchmarks/results'
	@echo 'make install    the program "overlay" in an environment of its own, on the path'
	@echo 'make uninstall  takes it away again; homes of nodes stay'
	@echo 'make lock       pins the dependencies anew'
	@echo 'make clean      removes everything that the other targets made here'

$(VENV)/.run: requirements.lock pyproject.toml tools/environment.sh
	@tools/environment.sh $(VENV) requirements.lock edit
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml tools/environment.sh
	@tools/environment.sh $(VENV) requirements-dev.lock edit
	@touch $@ $(VENV)/.run

debian:
	@tools/debian.sh

demo: $(VENV)/.run
	@$(BIN)/python -m demo.demo

test: debian $(VENV)/.dev
	@PATH="$$PATH:/usr/sbin:/sbin" tools/tests.sh $(BIN)/python $(PYTEST)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house

fuzz: $(VENV)/.dev
	@nice $(BIN)/python -m tests.fuzz $(FUZZ)

docs: $(VENV)/.dev
	@$(BIN)/python -m tools.docs

bench: debian $(VENV)/.dev
	@set -e; for file in benchmarks/*.py; do name=$$(basename "$$file" .py); \
	  case "$$name" in __init__|described|crowd|kills|soak) continue;; esac; echo "== $$name"; PATH="$$PATH:/usr/sbin:/sbin" $(BIN)/python -m "benchmarks.$$name"; done

install:
	@tools/install.sh install

uninstall:
	@tools/install.sh uninstall

lock: $(VENV)/.dev
	@tools/lock.sh $(VENV)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
