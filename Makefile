# Everything starts here; `make` alone lists the targets.
# Needs Python 3.11 or newer, a C++ compiler and make. Each target works as the first command in a fresh clone:
# the Python packages are installed once into .venv, after which no network is needed.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV    := .venv
BIN     := $(VENV)/bin
LOCK    := constraints/python.txt
BUILD   := build
# The Python that .venv is made from; without PYTHON=, the first of these that is new enough.
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
CAPTURE ?= sim/demo/demo.pcapng
PROFILE ?= wide
BOARD   ?= ecpix5
PYTEST_ARGS ?=

.PHONY: help setup demo test test-slow check format rtl synth bench docs clean

help: ## this list
	@echo "Sentinic: an open FPGA network card for security monitoring."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  CAPTURE=file    the capture of 'demo' (pcap or pcapng, gzip too); now $(CAPTURE)"
	@echo "  PROFILE=name    the card that 'demo' simulates: wide or board; now $(PROFILE)"
	@echo "  BOARD=name      the board of 'synth'; now $(BOARD)"
	@echo "  PYTHON=program  the Python (3.11 or newer) that .venv is made from"
	@echo "  PYTEST_ARGS=... more arguments for 'test' and 'test-slow', as -k parser"

# The stamp's name holds what the packages depend on and where the clone lies (a venv cannot be moved), so that
# a finished set-up costs nothing and an outdated one is noticed whatever the files' times are.
setup: ## install the exact Python packages into .venv (once; later runs need no network)
	@set -eu; \
	sum=$$({ cat pyproject.toml $(LOCK); pwd; } | cksum | cut -d ' ' -f 1); \
	stamp=$(VENV)/.sentinic-$$sum; \
	if [ -e "$$stamp" ] && $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; \
	if ! command -v "$${CXX:-g++}" >/dev/null 2>&1 && ! command -v clang++ >/dev/null 2>&1; then \
	    echo "setup: a C++ compiler is needed to build the simulated card; install g++ (Debian, Ubuntu:" \
	         "apt install g++) or set CXX" >&2; exit 1; \
	fi; \
	if [ ! -x $(BIN)/pip ] || ! $(BIN)/python -c '' 2>/dev/null \
	   || ! head -n 1 $(BIN)/pip | grep -qF "$$(pwd)/$(VENV)/"; then \
	    python=; \
	    for candidate in $(PYTHONS); do \
	        if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	            python=$$candidate; break; \
	        fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "setup: Python 3.11 or newer is needed; tried:" >&2; \
	        for candidate in $(PYTHONS); do \
	            echo "  $$candidate: $$("$$candidate" --version 2>/dev/null || echo not found)" >&2; \
	        done; \
	        echo "Name one with: make setup PYTHON=/path/to/python3.12" >&2; exit 1; \
	    fi; \
	    if ! "$$python" -m venv --clear $(VENV); then \
	        echo "setup: $$python cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)" >&2; \
	        exit 1; \
	    fi; \
	fi; \
	echo "setup: installing the pinned packages of $(LOCK) into $(VENV) (once, a minute or two)"; \
	rm -f $(VENV)/.sentinic-*; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --requirement $(LOCK); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
	    --no-build-isolation --no-deps --editable .; \
	touch "$$stamp"; \
	echo "setup: done; 'make' lists what you can do, '$(BIN)/sentinic --help' the program's commands"

demo: setup ## a capture through the simulated card, into logs and a report in build/demo
	@$(BIN)/sentinic run "$(CAPTURE)" --profile $(PROFILE) --out $(BUILD)/demo
	@echo
	@echo "What came out of the rings, in $(CURDIR)/$(BUILD)/demo:"
	@for file in report.html summary.json conn.log packets.pcapng; do \
	    if [ -e $(BUILD)/demo/$$file ]; then echo "  $(BUILD)/demo/$$file"; fi; \
	done
	@echo "Open report.html in a browser, packets.pcapng in Wireshark."

test: setup ## the tests that take seconds
	@$(BIN)/pytest -n 2 --dist worksteal -m "not slow" $(PYTEST_ARGS)

test-slow: setup ## the long ones: builds from clean, proofs, the whole corpus, fuzz
	@$(BIN)/pytest -n 2 --dist worksteal -m slow $(PYTEST_ARGS)

check: setup ## report lint, format, types and outdated generated pages; changes nothing
	@status=0; \
	echo "ruff check";          $(BIN)/ruff check --quiet . || status=1; \
	echo "ruff format --check"; $(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check .; status=1; }; \
	echo "mypy";                $(BIN)/mypy || status=1; \
	echo "generated pages";     $(BIN)/python -m sentinic.abi.pages --check || status=1; \
	exit $$status

format: setup ## put right what 'check' can put right by itself
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

rtl: setup ## the card's Verilog, both profiles, into build/rtl
	@mkdir -p $(BUILD)/rtl
	@$(BIN)/sentinic rtl --profile wide --out $(BUILD)/rtl/card_wide.v
	@$(BIN)/sentinic rtl --profile board --out $(BUILD)/rtl/card_board.v

synth: setup ## a bitstream for an ECP5 board, utilisation of the wide card; figures into build/synth
	@$(BIN)/sentinic synth --profile wide
	@$(BIN)/sentinic synth --profile board --board $(BOARD)

bench: setup ## speeds, measured; a table, and build/bench.json
	@mkdir -p $(BUILD)
	@$(BIN)/python -m sentinic_sim.bench --out $(BUILD)/bench.json

docs: setup ## write the pages that are generated from the ABI anew
	@$(BIN)/python -m sentinic.abi.pages

clean: ## remove what was made, except .venv
	@rm -rf $(BUILD) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find hdl sim sw tests -name __pycache__ -type d -prune -exec rm -rf {} +
