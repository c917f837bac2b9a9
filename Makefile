# make demo: from nothing to a map.  make test: everything that can be tested here.
PYTHON ?= python3
# What `make bench` trains on.
SOURCE ?= demo/scene
BIN := .venv/bin
# Two test processes, of one thread each, begin at one half of the tests each; who is done first takes from the other.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: install demo test check bench clean

install: .venv/installed

# pip would compile on one core; templates among the packages cannot be compiled, and need not be.
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[train,ray,serve,dev]"
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	touch $@

demo: install
	$(BIN)/sat2map demo demo

test: install
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal -q

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	test -e $(SOURCE) || $(MAKE) demo
	$(BIN)/python bench/train.py $(SOURCE) --json bench_train.json
	test -d demo/run || $(MAKE) demo
	$(BIN)/python bench/predict.py demo/scene/images/scene.tif --model demo/run --precisions fp32 bf16 --json bench_predict.json

clean:
	rm -rf .venv demo build dist
