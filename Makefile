# Every target makes its own virtual environment in .venv; nothing has to be installed before.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check bench heavy mutants fuzz zoo browser docs experiments format clean

demo: .venv/user  ## initialize DenseNet-121 with a policy, and save it
	$(BIN)/initpolicy apply examples/densenet.py:densenet121 densenet.toml \
	    --seed 0 --out densenet121.safetensors

test: .venv/developer  ## everything but the heavy suites
	$(BIN)/pytest -n 2

check: .venv/developer  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/developer  ## speed, paired with torch in one run
	$(BIN)/python benchmarks/draws.py
	$(BIN)/python benchmarks/orthogonal.py
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/planning.py
	$(BIN)/python benchmarks/shards.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/materialize.py

heavy: .venv/developer  ## exhaustive sweeps: minutes to an hour
	$(BIN)/pytest -m heavy -n 2

mutants: .venv/developer  ## plant every defect and look at 10,000 clean models
	$(BIN)/python tests/mutants/run.py

fuzz: .venv/developer  ## hand hostile inputs to everything that reads what others wrote
	$(BIN)/python tests/hostile/run.py

zoo: .venv/developer  ## every policy against the libraries' own constructors; writes docs/zoo.md
	$(BIN)/pytest tests/zoo -m "" -n 2 --deselect tests/zoo/test_table.py
	$(BIN)/python tests/zoo/table.py

browser: .venv/developer  ## reports in a real browser, if there is a Chromium
	$(BIN)/pytest tests/browser -m browser -n 0 -rs

docs: .venv/developer  ## the page and the picture of each initializer; writes docs/initializers
	$(PIP) -e ".[plot]"
	$(BIN)/python docs/make_initializers.py

experiments: .venv/developer  ## what an initialization does; the figures of docs/experiments.md
	$(PIP) -e ".[experiments]"
	$(BIN)/python examples/experiments/matrix_products.py
	$(BIN)/python examples/experiments/all_the_same.py
	$(BIN)/python examples/experiments/signals_over_depth.py
	$(BIN)/python examples/experiments/deep_chain.py
	$(BIN)/python examples/experiments/first_layer.py

format: .venv/developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/user: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

# The model libraries come without what they depend on: they would replace the pinned torch.
.venv/developer: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[develop,check]"
	$(PIP) --no-deps torchvision==0.28.0 timm==1.0.31 transformers==5.23.0 diffusers==0.42.1
	$(PIP) pillow pyyaml huggingface_hub tokenizers regex requests importlib_metadata
	touch $@
