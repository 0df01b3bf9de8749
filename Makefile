# Galaxy_VAE: `make run` shows a result, `make test` tests the code, `make help` lists the rest.
PYTHON ?= python3
RUN ?= data/demo
N ?= 2000
OVERLAP = $$(( $(N) * 3 / 4 ))
DOWNLOAD ?=
IMPORT ?=
FOLDER ?=
TABLE ?=
NAME ?= mine
SIMILAR ?=
EXPOSURES ?=
WEIGHTS ?=
BENCH ?=
GPU_OPTIONS ?=
SKIES ?=
SURVEYS ?=
REAL_SETS ?=
REAL_PAIRS ?=

VENV := .venv
PY := $(VENV)/bin/python
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help

help:  ## list every target
	@grep -hE '^[a-z_]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---- set-up: what is installed is remembered, so that a second call takes no time
define recent
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo 'Python 3.11 or newer is needed: make run PYTHON=/path/to/python3.12'; exit 1; }
endef
$(VENV)/installed: requirements.txt pyproject.toml
	$(recent)
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev,onnx,hats]'
	@touch $@

setup: $(VENV)/installed  ## create .venv and install requirements.txt

# ---- the pipeline: a target for each stage, from the list in VAE_model/pipeline/stages.py
.stages.mk: $(wildcard VAE_model/pipeline/*.py)
	$(recent)
	@$(PYTHON) -m VAE_model.pipeline rules > $@.new && mv $@.new $@
include .stages.mk

run: simulate  ## the whole pipeline on the simulated sky, ending in a report (RUN=data/demo N=2000)
	$(PY) -m VAE_model.pipeline after simulate $(RUN)
real: RUN = data/real
real: setup  ## the pipeline on real galaxies: the first N in both surveys (N=500 DOWNLOAD="--contact you@example.org")
	$(PY) data/download.py --run $(RUN) --survey both --first $(N) $(DOWNLOAD)
	$(PY) -m VAE_model.pipeline after download $(RUN)
paper: RUN = data/paper
paper: setup  ## the full size: 313,789 galaxies, about 255 GB to fetch and as much again to pack
	@echo '$(RUN): the Galaxy Zoo DECaLS catalogue (1.6 GB), 313,789 DECaLS cutouts (249 GB),'
	@echo 'those of the strip from BASS+MzLS (792,000 bytes each), a packed copy as large; days of'
	@echo 'fetching, then a GPU. The same command resumes an interrupted run. The published network'
	@echo 'on the same images: make published RUN=$(RUN)'
	$(PY) data/download.py --run $(RUN) --survey decals $(DOWNLOAD)
	$(PY) data/download.py --run $(RUN) --survey bassmzls $(DOWNLOAD)
	$(PY) -m VAE_model.pipeline after download $(RUN)
mine: RUN = data/$(NAME)
mine: setup  ## your own images, from a folder to a page (FOLDER=path/to/images TABLE=labels.csv NAME=mine)
	@test -n "$(FOLDER)" || { echo 'say where the images are: make mine FOLDER=path/to/images'; exit 1; }
	$(PY) data/import_images.py --run $(RUN) --folder "$(FOLDER)" --name $(NAME) \
	  $(if $(TABLE),--table "$(TABLE)") $(IMPORT)
	$(PY) -m VAE_model.pipeline after import $(RUN)
published: setup  ## the published network with the published settings, on the same images
	$(PY) make_datatxt.py --run data/published --folders $(RUN)/images/decals
	$(PY) Galaxy_VAE_n.py --run data/published --network published --stretch linear \
	  --loss published --epochs 50 --batch-size 512 --learning-rate 1e-5 --schedule constant
weights: setup  ## train the weights in VAE_model/weights again (over an hour on two cores)
	$(PY) benchmarks/train_weights.py $(WEIGHTS)
skies: setup  ## the protocol on ten skies, into docs/RESULTS.md (hours; resumable) (SKIES="--processes 2 --threads 1")
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[morphology]'
	$(PY) benchmarks/protocol/skies.py $(SKIES)
surveys: setup  ## from DECaLS to four surveys on eight skies, into docs/TRANSFER.md (hours; resumable) (SURVEYS="--processes 2 --threads 1")
	$(PY) benchmarks/protocol/surveys.py $(SURVEYS)
real_sets: setup  ## the protocol on real galaxies, into docs/REAL.md (needs ../shared/real; hours; resumable)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[morphology]'
	$(PY) benchmarks/protocol/real.py --write $(REAL_SETS)
real_pairs: setup  ## the weights on real images of two surveys, into docs/REAL_PAIRS.md (needs ../shared/real; minutes)
	$(PY) benchmarks/protocol/real_pairs.py --write $(REAL_PAIRS)
dimensions: setup  ## choose the number of latents from 2 to 160, three seeds, full training (about 10 minutes)
	$(PY) analysis/choose_dimension.py --run $(RUN) --num-var 2 5 10 20 40 80 160 --epochs 0 --train-images 0
degradation: setup  ## choose the strength of the degradation on repeated exposures (5 minutes)
	$(PY) benchmarks/experiments/degradation.py
notebooks: $(VENV)/installed-dev  ## execute the notebooks in place, on the demo
	$(PY) outline/execute.py
bench: $(VENV)/installed-dev  ## speed against a plain loop, into docs/BENCHMARKS.md (leave the machine alone meanwhile)
	$(PY) benchmarks/speed.py --write $(BENCH)
gpu: $(VENV)/installed-dev  ## speed on a GPU, into docs/BENCHMARKS.md (4 minutes) (GPU_OPTIONS="--budget 600")
	$(PY) benchmarks/gpu.py --write $(GPU_OPTIONS)

# ---- checks
test: $(VENV)/installed-dev  ## the tests
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder
faults: $(VENV)/installed-dev  ## the long tests: kills, full disks, broken files, worker processes (hours)
	$(PY) -m pytest -m long
coverage: $(VENV)/installed-dev  ## the tests again, and the share of the statements that they run
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -n auto --dist loadfile --no-loadscope-reorder
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report --fail-under 90
audit: $(VENV)/installed-dev  ## known weaknesses of the pinned packages (asks pypi.org)
	$(PY) -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	grep -v '^-e' requirements.txt > $(VENV)/pinned.txt
	$(PY) -m pip_audit --requirement $(VENV)/pinned.txt
docs: setup  ## these pages and the reference of the package as a site, build/site/index.html
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	rm -rf build/pages && mkdir -p build/pages
	tar cf - *.md CITATION.cff *.py docs analysis/*.py data/*.py outline/* transfer/* | tar xf - -C build/pages
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict -f docs/mkdocs.yml
tables: setup  ## the stage tables of the READMEs, from the list of stages
	$(PY) -m VAE_model.pipeline
lint: $(VENV)/installed-dev  ## ruff: rules and layout; mypy: types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
clean:  ## remove the demo's run, not the installation
	rm -rf data/demo

.PHONY: help setup run real paper mine published weights skies surveys real_sets real_pairs dimensions \
  degradation notebooks bench gpu test faults coverage audit docs tables lint clean
