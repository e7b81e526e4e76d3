# `make example`, `make test`: each does its own set-up, once, in a virtual environment of its own.
VENV ?= .venv
PYTHON ?= python3
LOGDIR ?= runs
BIN := $(VENV)/bin

.PHONY: example tensorboard test test-slow test-oldest test-internals test-beside lint docs bench gpu-check release-check clean

example: $(VENV)/.examples
	$(BIN)/python examples/segmentation.py --logdir $(LOGDIR) $(ARGS)

tensorboard: $(VENV)/.examples
	$(BIN)/tensorboard --logdir $(LOGDIR) --samples_per_plugin images=1000

# A process a core, and a thread each: small tensors are not worth a second one.
test test-slow test-oldest: export OMP_NUM_THREADS ?= 1

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m slow $(ARGS)

# The tests with the oldest version of each direct dependency that pyproject.toml admits. Their
# bytecode is compiled beforehand: some of it warns when compiled, and in tests warnings are errors.
# onnxscript 0.1 gives protobuf bools for integers, which protobuf 6 refuses; named here, it needs a
# lower bound too, without which uv takes the oldest there ever was.
test-oldest:
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet uv
	$(VENV)-oldest/bin/uv pip install --quiet --python $(VENV)-oldest/bin/python \
		--resolution lowest-direct --compile-bytecode --editable '.[dev]' 'protobuf>=5.29,<6'
	$(VENV)-oldest/bin/python -m pytest -n auto -m "not slow" $(ARGS)

# The private parts of other packages that are needed here, in the oldest versions that
# pyproject.toml admits; `make test` looks at the newest. torch, which is large, is left as it is.
OWNERS := lightning|mlflow|mlflow-skinny|mlflow-tracing|tensorboard
test-internals: $(VENV)/.dev
	rm -rf $(VENV)/oldest && mkdir $(VENV)/oldest
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --resolution lowest-direct \
		--python $(BIN)/python --extra dev pyproject.toml --output-file $(VENV)/oldest/all.txt
	grep -E '^($(OWNERS))==' $(VENV)/oldest/all.txt > $(VENV)/oldest/owners.txt
	# MLflow 3.1 admits SQLAlchemy 2.1, but does not work with it.
	$(BIN)/python -m pip install --quiet --no-deps --target $(VENV)/oldest/packages \
		--requirement $(VENV)/oldest/owners.txt 'sqlalchemy<2.1'
	PYTHONPATH=$(VENV)/oldest/packages $(BIN)/python -m pytest tests/internals

# With packages that projects have beside this one, and that nothing else here needs.
BESIDE := transformers wandb
test-beside: export OMP_NUM_THREADS ?= 1
test-beside: $(VENV)/.dev
	rm -rf $(VENV)/beside
	$(BIN)/python -m pip install --quiet --target $(VENV)/beside $(BESIDE)
	PYTHONPATH=$(VENV)/beside $(BIN)/python -m pytest $(BESIDE:%=tests/integrations/test_%.py)

# Nothing of the standard library or the language that the oldest Python lacks; `long` is a tensor's.
OLDEST_PYTHON := --quiet --no-tips --violations --eval-annotations --exclude long --target=3.10-
lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vermin $(OLDEST_PYTHON) lightning_hparams

# Wheel and sdist, and each extra alone in an environment of its own, where it must do its job.
release-check: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python .ci/release_check.py $(ARGS)

# A thread of OpenMP that waits by spinning holds a core that the one it waits for may need.
bench: export OMP_WAIT_POLICY ?= PASSIVE
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/_table.py $(ARGS)
	$(BIN)/python benchmarks/_quotes.py bench.json

# What needs a GPU: tests and benchmarks, and a table with the name of the card.
gpu-check: $(VENV)/.dev $(VENV)/.bench
	@if $(BIN)/python -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then \
		$(BIN)/python -m pytest -m gpu && \
		$(BIN)/python benchmarks/_table.py --only gpu --out bench-gpu $(ARGS); \
	else echo "no GPU here: nothing was checked"; fi

# The site; a reference that leads nowhere is an error, and nothing is fetched.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -n -q docs site
	@echo "Open site/index.html"

$(VENV)/.examples $(VENV)/.dev $(VENV)/.bench $(VENV)/.docs: $(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) $(LOGDIR)
