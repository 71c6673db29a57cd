# Every target does its own set-up in .venv first; the second time that costs nothing.
.DEFAULT_GOAL := help
.PHONY: help install up demo test check format bench images

CANDIDATES := python3 python3.13 python3.12 python3.11
NEW_ENOUGH := import ensurepip, sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for one in $(CANDIDATES); do $$one -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$one && break; done)
BIN := .venv/bin

help:
	@echo "make demo     draw with every bundled adapter, compare in out/demo/sheet.png, stop"
	@echo "make up       run the service on this machine until Ctrl-C; prints the address of its page"
	@echo "make test     the whole gate: format, lint, types and tests"
	@echo "make check    what of the gate is quick: format, lint, types of what changed, tests that start nothing"
	@echo "make format   put the code into its format, and mend what the linter can mend"
	@echo "make bench    list the benchmarks; NAME=swap runs one, with OPTIONS='…' (OPTIONS=--help tells them)"
	@echo "make images   build both images and draw with them; BUILD='…' are further arguments of build"
	@echo "make install  only the set-up that the others do first"

install: .venv/.installed

up: install
	@$(BIN)/radiata up

demo: install
	@$(BIN)/radiata demo --folder out/demo

test: .venv/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --dist loadfile -m "not service and not browser"
	$(BIN)/pytest -m "service or browser"

check: .venv/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(CHANGED) | xargs -r $(BIN)/pyright
	$(BIN)/pytest -q -m "not service and not browser and not valkey and not slow" --sample 1

# Python files that the last commit of the upstream branch has not, or has otherwise
SINCE = $$(git merge-base HEAD @{upstream} 2>/dev/null || echo HEAD)
CHANGED = { git diff --name-only --diff-filter=d $(SINCE) -- '*.py'; git ls-files --others --exclude-standard -- '*.py'; }

format: .venv/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.installed-test
	@$(BIN)/python -m tests.bench$(if $(NAME),.$(NAME) $(OPTIONS))

images: .venv/.installed-test
	@$(BIN)/python docker/try_images.py $(BUILD)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer, with its venv module, is needed; none of these has both:" \
	  "$(CANDIDATES). If yours has another name: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[local]' -c constraints.txt
	@touch $@

.venv/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[test]' -c constraints.txt
	@touch $@ .venv/.installed
