# Every target first installs the Python packages it needs into .venv. The machine must have Python 3.11 or
# newer, g++, make and perl.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
# Processes of tests, proofs and measurements.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
export TRILITH_BUILD := $(CURDIR)/build

.DEFAULT_GOAL := help
.PHONY: help setup sim test test-all mutate verilog lint bitstream plots bench tables prove prove-all docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install the toolkit and its tests into .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python must be 3.11 or newer, not $$($(PYTHON) --version): give another one, as in make PYTHON=python3.11" >&2; exit 2; }
	@echo "installing the toolkit into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@{ $(VENV)/bin/python -m pip install --upgrade "pip>=24" && \
	    $(VENV)/bin/python -m pip install --editable '.[test]'; } > $(VENV)/install.log 2>&1 || \
	    { tail -n 20 $(VENV)/install.log; exit 2; }
	@touch $@

sim: $(STAMP) ## simulate the generated engine, and compare it with the golden model
	@$(VENV)/bin/trilith sim

# A process that has no tests left takes half of those of another. Other orders of xdist scatter the tests of a file,
# and make its fixtures in every process, or give whole files to one process, and leave the others idle at the end.
PYTEST = $(VENV)/bin/python -m pytest --numprocesses $(JOBS) --dist worksteal

test: $(STAMP) ## run the tests, except the long ones
	$(PYTEST)

test-all: $(STAMP) ## run all tests, the long ones too
	$(PYTEST) --long

# Mutants of all rooms together, and the number that decides which.
N ?= 390
SEED ?= 0
mutate: $(STAMP) ## break the code in many places, and print what no test notices
	@PYTHONPATH=tests $(VENV)/bin/python -m mutation --count $(N) --seed $(SEED)

verilog: $(STAMP) ## export the Verilog of every preset to build/verilog-export
	@for preset in $$($(VENV)/bin/python -c 'from trilith.hw import PRESETS; print(*PRESETS)'); do \
	    $(VENV)/bin/trilith verilog --preset $$preset --name trilith_$$preset --testbench --force \
	        --out build/verilog-export/$$preset.v || exit; \
	done

lint: $(STAMP) ## check the style and the types of the code
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright --level error
	$(VENV)/bin/python .ci/house.py

$(VENV)/.fpga: $(STAMP)
	@echo "installing the FPGA tools into $(VENV)"
	@$(VENV)/bin/python -m pip install --editable '.[fpga]' >> $(VENV)/install.log 2>&1 || \
	    { tail -n 20 $(VENV)/install.log; exit 2; }
	@touch $@

$(VENV)/.prove: $(STAMP)
	@echo "installing the prover into $(VENV)"
	@$(VENV)/bin/python -m pip install --editable '.[prove]' >> $(VENV)/install.log 2>&1 || \
	    { tail -n 20 $(VENV)/install.log; exit 2; }
	@touch $@

PROVE = PYTHONPATH=tests $(VENV)/bin/python -m proofs --jobs $(JOBS)

prove: $(VENV)/.prove ## prove the theorems about the hardware: the quick cases
	@$(PROVE)

prove-all: $(VENV)/.prove ## prove all cases, and show that faults break each theorem
	@$(PROVE) --all --faults

bitstream: $(VENV)/.fpga ## build the bitstream of a board: make bitstream BOARD=icebreaker
	@$(VENV)/bin/trilith fpga build --board "$(BOARD)"

plots: $(STAMP) ## draw the figures of reports/figures, and report.html
	@$(VENV)/bin/trilith report figures --out reports/figures --force

$(VENV)/.docs: $(STAMP)
	@echo "installing MkDocs into $(VENV)"
	@$(VENV)/bin/python -m pip install --editable '.[docs]' >> $(VENV)/install.log 2>&1 || \
	    { tail -n 20 $(VENV)/install.log; exit 2; }
	@touch $@

docs: $(VENV)/.docs $(VENV)/.prove ## write the pages that are generated, and build the site into build/site
	@$(VENV)/bin/python -m trilith.reports.pages
	@$(PROVE) --page
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml
	@echo build/site/index.html

bench: $(VENV)/.fpga ## measure area, the speed of simulation and conversion, and the language model
	@$(VENV)/bin/python -m trilith.reports.bench

# Arguments of the table of each cell library: its name, process, clock frequencies and files. Results that
# are still valid are not measured again. All variants of a format are measured in ASAP7 first, and headline
# units with glitches; the other libraries measure the units of the comparison, and those that are best there.
# All have placed units. The token core takes about ten processor minutes.
MEASURE = $(VENV)/bin/trilith characterize --all --jobs $(JOBS)
SEARCH = $(VENV)/bin/trilith characterize --search --jobs $(JOBS)
GIGAHERTZ = --clock-ghz 1 --clock-ghz 0.5
MEGAHERTZ = --clock-ghz 0.1 --clock-ghz 0.05
ASAP7_FILES = $(wildcard $(PDK)/asap7/*.lib.gz)
ASAP7 = --library asap7 --node "7 nm predictive FinFET, 0.7 V"
ASAP7_UNITS = $(ASAP7) $(GIGAHERTZ) --clock-ghz 0.25 --liberty $(ASAP7_FILES)
IHP = --library ihp-sg13g2 --node "130 nm BiCMOS, 1.2 V"
CELLS = $(MEGAHERTZ) --liberty $(wildcard $(PDK)/ihp-sg13g2/sg13g2_*.lib.gz)
SKY130 = --library sky130hd --node "130 nm, 1.8 V" $(MEGAHERTZ) --liberty $(wildcard $(PDK)/sky130hd/*.lib.gz)
GT2N = --library gt2n --node "2 nm predictive gate-all-around, 0.7 V" $(GIGAHERTZ) \
    --liberty $(wildcard $(PDK)/gt2n/*.lib.gz)
OSU018 = --library osu018 --node "180 nm, 1.8 V" $(MEGAHERTZ) \
    --liberty /usr/share/qflow/tech/osu018/osu018_stdcells.lib

tables: $(VENV)/.fpga ## measure the energy of gates again: make tables PDK=FOLDER
	@test -d "$(PDK)/asap7" || { echo "PDK must be a folder with asap7, ihp-sg13g2, sky130hd and" \
	    "gt2n, which hold Liberty files, not '$(PDK)'" >&2; exit 2; }
	$(SEARCH) $(ASAP7_UNITS)
	$(MEASURE) $(ASAP7_UNITS)
	$(MEASURE) --glitches $(ASAP7_UNITS)
	$(MEASURE) --placed $(ASAP7_UNITS)
	$(VENV)/bin/trilith characterize --arrays --library asap7 --liberty $(ASAP7_FILES)
	$(VENV)/bin/python -m trilith.reports.figures.layouts $(ASAP7_FILES)
	$(VENV)/bin/trilith characterize --token-core --clock-ghz 0.5 $(ASAP7) --liberty $(ASAP7_FILES)
	$(MEASURE) $(IHP) $(CELLS)
	$(MEASURE) --placed $(IHP) $(CELLS)
	$(VENV)/bin/trilith characterize --sram $(IHP) --liberty $(wildcard $(PDK)/ihp-sg13g2/RM_*.lib.gz)
	$(MEASURE) $(SKY130)
	$(MEASURE) --placed $(SKY130)
	$(MEASURE) $(GT2N)
	$(MEASURE) --placed $(GT2N)
	$(MEASURE) $(OSU018)
	$(MEASURE) --placed $(OSU018)

clean: ## remove build and .venv
	rm -rf build $(VENV) *.egg-info
