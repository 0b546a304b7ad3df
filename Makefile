# Everything here sets itself up: `make demo` and `make test` work in a fresh clone.
# The set-up is kept in .venv and looked at again only when pyproject.toml or constraints.txt change.

PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
NOTEBOOKS := $(wildcard notebooks)
CHECKED := $(wildcard workbench scripts sample_models tests benchmarks notebooks app.py)

# One torch thread for each test worker: two workers on two cores beat two threads in one worker.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest \
	-n $(WORKERS) --dist loadgroup --durations=40 --durations-min=5

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help setup setup-browser demo app lab test test-fast lint format hostile export-matrix bench bench-ui operators methods notebooks gallery zoo ray zoo-check pins wheel clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: ## create .venv from the pinned packages
	@$(PYTHON) scripts/setup.py

setup-browser:
	@$(PYTHON) scripts/setup.py --browser

demo: setup ## open a sample model, let it learn, export it and prove it
	@$(BIN)/workbench demo

app: setup ## start the app
	@$(BIN)/workbench app

lab: setup ## open the course and the other notebooks
	@$(BIN)/jupyter lab notebooks/index.ipynb

test: setup-browser lint ## check style and types, then run every test
	@$(PYTEST) --nbmake tests workbench $(NOTEBOOKS)

test-fast: setup-browser ## run the tests that are neither slow nor notebooks
	@$(PYTEST) -m "not slow and not notebook" tests workbench

lint: setup ## check style, types and floors
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)
	@$(BIN)/pyright --warnings
	@$(BIN)/lint-imports --no-cache

format: setup ## mend what can be mended without thought
	@$(BIN)/ruff check --fix $(CHECKED)
	@$(BIN)/ruff format $(CHECKED)

hostile: setup ## open hostile and mutated files, and count what came of them
	@$(BIN)/python -m tests.hostile

export-matrix: setup ## export every layer x grid x opset, run it in ONNX Runtime, print the counts
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.deploy.matrix

bench: setup ## measure accuracy, cost and speed, write benchmarks/results/tables.md (resumes)
	@$(BIN)/python -m benchmarks

bench-ui: setup-browser ## measure how fast app and widgets are, for one person and for a class of 30 (12 minutes)
	@$(BIN)/python -m benchmarks.ui $(BENCH_UI)

operators: setup ## run the ONNX project's operator tests, and write docs/operators.md
	@$(BIN)/python -m scripts.operators

notebooks: setup ## write the course's notebooks from their sources
	@$(BIN)/python -m scripts.notebooks

methods: setup ## write docs/methods.md from what is registered
	@$(BIN)/python -m scripts.methods

gallery: setup-browser ## draw the pictures of docs/gallery.md and README.md (needs a Chinese font)
	@$(BIN)/python -m scripts.gallery

zoo: ## add the larger pretrained models
	@$(PYTHON) scripts/setup.py --zoo

ray: ## add Ray, for sweeps beyond one machine
	@$(PYTHON) scripts/setup.py --ray

zoo-check: ## compare every tensor of the pretrained models with ONNX Runtime
	@$(BIN)/python -m scripts.zoo_check

pins: setup ## write constraints.txt from what .venv holds now
	@$(BIN)/python scripts/pins.py

wheel: setup ## build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove .venv and everything that was built
	@rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
