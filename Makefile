# make demo       upscale a short clip and show where the result lies
# make test       lint, types, import contracts, tests: what .ci/run runs
# make bench      measure again what bench/README.md says, in about half an hour
# make long       the tests that take too long for each time
# make fuzz       ten thousand damaged files through the pipelines, in some five minutes
# make soak       a daemon under fire for 20 minutes, or for MINUTES=5; docs/soak.md says what it found
# make            the same as make test
# All of it happens in .venv, made from nothing but Python 3.11 or newer: make PYTHON=python3.12 demo

PYTHON ?= python3
# --no-compile: torch has thousands of modules of which few are ever imported. Those are compiled once, and not at each
# start of a process, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
PIP := .venv/bin/python -P -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := test
.PHONY: test lint long format bench fuzz soak demo picture install wheel clean

# Files in memory where that has room: tests that cut the power do so to disks of their own, and no other needs one.
MEMORY := $(shell test "$$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 6000000 2>/dev/null && echo TMPDIR=/dev/shm)

# One thread each: threads of tiny models wait longer than they compute. Three processes, for daemons wait a lot. Models
# apart, for what they leave in a process makes each of its forks slow, and the other tests fork thousands of times.
PYTEST = $(MEMORY) OMP_NUM_THREADS=1 .venv/bin/pytest
SIDE_BY_SIDE := --numprocesses=3 --dist=worksteal
MODELS := tests/pipelines tests/kernels tests/bench tests/daemon/test_models.py tests/test_animate.py tests/test_bad_media.py \
	tests/test_compile_gate.py tests/test_flashvsr.py tests/test_ocr_bars.py tests/test_privacy.py
test: lint
	$(PYTEST) $(SIDE_BY_SIDE) $(addprefix --ignore=,$(MODELS))
	$(PYTEST) $(SIDE_BY_SIDE) $(MODELS)

long: .venv/dev
	$(PYTEST) -m long

lint: .venv/dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

demo: .venv/demo
	.venv/bin/python bench/demo.py

# Of the programs that are compared with, those that cannot be had are left out.
bench: .venv/dev
	-$(PIP) --no-deps -r bench/requirements.txt
	.venv/bin/python bench/all.py

fuzz: .venv/dev
	OMP_NUM_THREADS=1 .venv/bin/python tests/make_fuzz.py

MINUTES ?= 20
soak: .venv/dev
	.venv/bin/python bench/soak.py --minutes $(MINUTES)

# The picture at the top of README.md.
picture: .venv/demo
	.venv/bin/python bench/demo.py --picture docs/before-after.png

install: .venv/darkroom
	@echo "The command is .venv/bin/darkroom; begin with: .venv/bin/darkroom init FOLDER"

wheel: .venv/darkroom
	.venv/bin/python -P -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean:
	rm -rf .venv build dist demo darkroomd.egg-info

# Each file in .venv says what has been installed, so that the second run of a target is quick.
.venv/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Darkroom needs Python 3.11 or newer, and this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@"$(PYTHON)" -c 'import ensurepip, venv' || { echo 'Python lacks its venv module; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	@touch $@

.venv/darkroom: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

.venv/demo: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable '.[demo]'
	@touch $@

.venv/dev: .venv/python pyproject.toml constraints.txt ocr-structure.txt
	$(PIP) --editable '.[dev,demo,ncnn]'
	$(PIP) --no-deps -r ocr-structure.txt
	@touch $@
