# yarddesk from a checkout. Each target sets up what it needs first; a second call finds it there.
#   make run   [ARGS="--port 5051"]      start the app (without a display: yarddesk serve)
#   make test  [ARGS="-k push -x"]       all checks, then all tests
#   make bench [ARGS="--rounds 5"]       compare with docker-registry
#   make check | lint | format           the checks alone | ruff alone | rewrite to the project's format
#   make lock                            choose the newest versions of all dependencies anew

BIN := .venv/bin
SOURCES := src tests packaging
PYTHON_FOR_SET_UP = "$$(packaging/setup/find-python)"

.PHONY: run test bench check lint format lock set-up-run set-up-test

run: set-up-run
	@exec packaging/setup/run $(ARGS)

test: set-up-test check
	$(BIN)/pytest --numprocesses=2 --dist=loadgroup $(ARGS)

bench: set-up-test
	$(BIN)/python -m tests.bench $(ARGS)

check: set-up-test lint
	$(BIN)/mypy --strict $(SOURCES)
	$(BIN)/lint-imports

lint: set-up-test
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: set-up-test
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lock:
	@python=$(PYTHON_FOR_SET_UP) && "$$python" packaging/setup/lock.py

set-up-run set-up-test: set-up-%:
	@python=$(PYTHON_FOR_SET_UP) && "$$python" packaging/setup/set_up.py $*
