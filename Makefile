# `make help` lists the targets. Everything works from a fresh Debian 12 or 13 with make, git and a network (docs/setup.md).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
ASMGEN := $(VENV)/bin/asmgen
SETUP_INPUTS := pyproject.toml scripts/constraints.txt scripts/setup.sh scripts/apt.sh
SOURCES := $(wildcard asmgen/*.py asmgen/*/*.py asmgen/*/*/*.py asmgen/*/*.asm asmgen/*/*.c asmgen/*/*.inc runtime/*.* runtime/*/*.* templates/*.* templates/*/*.* templates/*/*/*.*)

# Options: make trainer MODEL=models/lenet.py ISA=avx2;  make test PYTEST_ARGS="-k setup";  PYTHON, TORCH: scripts/setup.sh
MODEL := models/catdog.py
ISA := native
DEMO_EPOCHS := 4
PYTEST_ARGS := -n auto

BENCH := build/bench
BENCH_MODELS := catdog mnist_mlp mnist_sigmoid lenet vgg_small
BENCH_ARGS := --isa avx512 --isa avx2 --isa sse41 --threads 1,2 --against torch,numpy,c,python --kernels

DEMO_DATA := data/catdog-drawn
DEMO := generated/catdog/demo

.PHONY: help setup demo trainer test lint showcase bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

setup:  ## make .venv with asmgen and the tools for tests (installs what is missing with apt)
	scripts/setup.sh dev

demo: $(DEMO).log  ## draw cats and dogs, build models/catdog.py for this CPU, train it
	@echo
	@echo "demo: $$(tail -n 1 $<)"
	@echo "demo: the whole output is in $<, the weights are in $(DEMO).safetensors, the assembly is under generated/catdog/"
	@echo "demo: 'make clean' starts over"

trainer: $(VENV)/.base  ## build the trainer of MODEL for ISA
	$(ASMGEN) build $(MODEL) --isa $(ISA)

test: $(VENV)/.dev  ## run the tests
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev  ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy asmgen/

showcase: $(VENV)/.dev  ## write generated/showcase again
	rm -rf generated/showcase
	$(ASMGEN) build models/mnist_sigmoid.py --isa avx512 --emit-only --out generated/showcase

bench: $(patsubst %,$(BENCH)/%.json,$(BENCH_MODELS)) $(BENCH)/mnist_sigmoid_float32.json  ## measure the shipped models beside their peers: docs/benchmarks.md
	$(VENV)/bin/python -m asmgen.bench.report $^ > docs/benchmarks.md
	@echo "docs/benchmarks.md; 'rm -r $(BENCH)' measures again"

# Never by two jobs at once: what runs beside a measurement is part of it.
.NOTPARALLEL: bench
$(BENCH)/%.json: $(SOURCES) | $(VENV)/.dev
	mkdir -p $(@D)
	$(ASMGEN) bench models/$(subst _float32,,$*).py $(if $(findstring _float32,$*),--dtype float32) $(BENCH_ARGS) --json > $@

clean:  ## remove .venv and all that these targets made; imported data sets stay
	git clean -fdXq generated
	rm -rf $(VENV) $(DEMO_DATA) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.base: $(SETUP_INPUTS)
	scripts/setup.sh base

$(VENV)/.dev: $(SETUP_INPUTS)
	scripts/setup.sh dev

$(DEMO_DATA)/classes.json: | $(VENV)/.base
	$(ASMGEN) data synth catdog -o $(DEMO_DATA)

$(DEMO).log: models/catdog.py $(SOURCES) $(DEMO_DATA)/classes.json | $(VENV)/.base
	$(ASMGEN) build models/catdog.py --isa native
	isa=$$($(ASMGEN) doctor --best-isa); \
	generated/catdog/$$isa/trainer --data $(DEMO_DATA) --epochs $(DEMO_EPOCHS) --save $(DEMO).safetensors | tee $@
