# Each target makes .venv and installs what it needs, once and quietly.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

PART ?= 1/1

.PHONY: demo setup test test-slow docs lint gpu-check clean

demo: $(STAMP)  ## build the embedded ResNet at 4 bits, without data, and report
	$(BIN)/genq-export build fashion_resnet --bits 4 -o build/demo

setup: $(STAMP)  ## the environment, and the checks in front of every commit
	$(BIN)/pre-commit install

test: $(STAMP) lint  ## make lint, and the tests that take minutes at most
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test-slow: $(STAMP)  ## the tests that take longer, or a part of them: PART=3/8; one that was stopped goes on
	$(BIN)/python -m pytest -m slow --part $(PART)

docs: $(STAMP)  ## the documentation site, in build/site/index.html
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/python -m tools.docs_site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLC2701 --quiet genq_export calibrate export runtime_tests tools  # no name with _ from elsewhere
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/mypy

gpu-check: $(STAMP)  ## everything that needs a GPU, six minutes at most; writes the table of docs/gpu.md
	$(BIN)/python tools/gpu_check

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (torch is large; once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 torchvision==0.28.0
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:  ## remove builds and the environment
	rm -rf build $(VENV) *.egg-info
