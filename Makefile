# Every target sets up what it needs in .venv first; only Python 3.11+, g++, make and perl are assumed.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
export TRILITH_BUILD := $(CURDIR)/build

.DEFAULT_GOAL := help
.PHONY: help setup sim test test-all verilog lint bitstream plots bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python must be 3.11 or newer, not $$($(PYTHON) --version): make PYTHON=python3.11" >&2; exit 2; }
	@echo "installing into $(VENV), once"
	@$(PYTHON) -m venv $(VENV)
	@{ $(VENV)/bin/python -m pip install --upgrade "pip>=24" && \
	    $(VENV)/bin/python -m pip install --editable '.[test]'; } > $(VENV)/install.log 2>&1 || \
	    { tail -n 20 $(VENV)/install.log; exit 2; }
	@touch $@

sim: $(STAMP) ## hold the generated engine to the golden model, on real input
	@$(VENV)/bin/trilith sim

test: $(STAMP) ## run the tests
	$(VENV)/bin/python -m pytest

test-all: $(STAMP) ## run the tests, the long ones too
	$(VENV)/bin/python -m pytest --long

verilog: $(STAMP) ## export every preset to build/verilog-export
	@mkdir -p build/verilog-export
	@for preset in $$($(VENV)/bin/python -c 'from trilith.hw import PRESETS; print(*PRESETS)'); do \
	    $(VENV)/bin/trilith verilog --preset $$preset --name trilith_$$preset --testbench \
	        --out build/verilog-export/$$preset.v || exit; \
	done

lint: $(STAMP) ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright --level error

$(VENV)/.fpga: $(STAMP)
	@echo "installing place and route into $(VENV), once"
	@$(VENV)/bin/python -m pip install --editable '.[fpga]' >> $(VENV)/install.log 2>&1 || \
	    { tail -n 20 $(VENV)/install.log; exit 2; }
	@touch $@

bitstream: $(VENV)/.fpga ## build a board's bitstream: make bitstream BOARD=icebreaker
	@$(VENV)/bin/trilith fpga build --board "$(BOARD)"

plots: $(STAMP) ## draw the figures and report.html into reports/figures
	@$(VENV)/bin/python -m trilith.reports.plots

bench: $(VENV)/.fpga ## measure speed and size
	@$(VENV)/bin/python -m trilith.reports.bench

clean: ## remove build/ and .venv
	rm -rf build $(VENV) *.egg-info
