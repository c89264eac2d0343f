# Two commands on a fresh machine: `make demo` and `make test`. Everything they need is made by scripts/setup_env.py.

PYTHON ?= $(firstword $(shell command -v python3.11) python3)
VENV ?= .venv
MODEL = .cache/models/SmolLM2-135M-Instruct
IN = $(VENV)/bin
# Handed to the scripts as it is, whatever it holds; they refuse what the other recipes could not use.
export VENV
# The quickstart and the tests never need a model hub.
export HF_HUB_OFFLINE = 1

.DEFAULT_GOAL := help
.PHONY: help python setup model demo test lint format type bench wheel lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

python:
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 with its venv module (on Debian \
	\`apt install python3.11 python3.11-venv\`), or name one with \`make ... PYTHON=/path/to/python3.11\`" >&2; exit 1; }

setup: python ## the environment: locked packages and this checkout's wheel in .venv
	@$(PYTHON) scripts/setup_env.py "$$VENV"

model: setup ## the small real model, converted once into .cache
	@$(IN)/python examples/smollm2.py $(MODEL) > /dev/null

demo: model ## build, probe, mix, train and report on the example data, then ask the trained model something
	@$(PYTHON) scripts/housekeeping.py gpu
	$(IN)/versatune run examples/quickstart.yaml
	@$(IN)/python examples/ask.py examples/outputs/quickstart
	@$(PYTHON) scripts/housekeeping.py disk "$$VENV"

test: model ## the whole suite against the installed wheel, in two processes; ARGS="-k name" narrows it
	$(IN)/python -Im pytest -o pythonpath="" -n 2 --dist loadfile $(ARGS)

lint: setup ## ruff and the import contracts
	$(IN)/ruff check .
	$(IN)/ruff format --check .
	$(IN)/lint-imports --no-logo

format: setup ## rewrite the sources the way lint wants them
	$(IN)/ruff check --fix .
	$(IN)/ruff format .

type: setup ## mypy, strict
	$(IN)/mypy

bench: setup ## every benchmark in its quick form
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(IN)/python $$script --quick; done

wheel: setup ## build what is uploaded, wheel and source distribution, into dist/ and look into it
	rm -rf dist
	$(IN)/python -m hatchling build -d dist
	$(IN)/check-wheel-contents dist/*.whl
	$(IN)/twine check --strict dist/*

lock: python ## write requirements/*.txt anew (docs/install.md says when)
	@$(PYTHON) scripts/lock.py

clean: python ## remove what the others leave: .venv, .cache, examples/outputs, dist, the tools' caches
	@$(PYTHON) scripts/housekeeping.py clean "$$VENV"
