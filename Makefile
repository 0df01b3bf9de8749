# Galaxy_VAE: `make run` shows a result, `make test` proves it, `make help` lists the rest.
PYTHON ?= python3
RUN ?= data/demo
N ?= 2000
OVERLAP = $$(( $(N) * 3 / 4 ))
DOWNLOAD ?=
SIMILAR ?=
BENCH ?=

VENV := .venv
PY := $(VENV)/bin/python
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help

help:  ## list every target
	@grep -E '^[a-z_]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---- set-up: what is installed is remembered, so that a second call takes no time
$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: make run PYTHON=/path/to/python3.12'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

setup: $(VENV)/installed  ## create .venv and install requirements.txt

# ---- the pipeline, in order
run: setup  ## the whole pipeline on the simulated sky, ending in a report (RUN=data/demo N=2000)
	$(PY) data/simulate.py --run $(RUN) --galaxies $(N) --overlap $(OVERLAP)
	$(call stages,$(RUN))

# The stages after the data, on the run $(1).
define stages
	$(PY) make_datatxt.py --run $(1)
	$(PY) Galaxy_VAE_n.py --run $(1)
	$(PY) analysis/extract_latents.py --run $(1)
	$(PY) analysis/decals_1.py --run $(1)
	$(PY) analysis/decals_2_1.py --run $(1)
	$(PY) analysis/decals_2_2.py --run $(1)
	$(PY) analysis/decals_3.py --run $(1)
	$(PY) analysis/map.py --run $(1)
	$(PY) analysis/decals_4.py --run $(1)
	$(PY) analysis/classify.py --run $(1)
	$(PY) analysis/choose_dimension.py --run $(1)
	$(PY) analysis/similar.py --run $(1)
	$(PY) analysis/traversal.py --run $(1)
	$(PY) analysis/probe.py --run $(1)
	$(PY) transfer/make_pairs.py --run $(1)
	$(PY) transfer/encode_pairs.py --run $(1)
	$(PY) transfer/adapt.py --run $(1)
	$(PY) transfer/compare.py --run $(1)
	$(PY) outline/network_diagram.py --run $(1)
	$(PY) analysis/report.py --run $(1)
endef

real: RUN = data/real
real: setup  ## the pipeline on real galaxies: the first N in both surveys (N=500 DOWNLOAD="--contact you@example.org")
	$(PY) data/download.py --run $(RUN) --survey both --first $(N) $(DOWNLOAD)
	$(call stages,$(RUN))
paper: RUN = data/paper
paper: setup  ## the full size: 313,789 galaxies, about 255 GB to fetch and as much again to pack
	@echo '$(RUN): the Galaxy Zoo DECaLS catalogue (1.6 GB), 313,789 DECaLS cutouts (249 GB),'
	@echo 'those of the strip from BASS+MzLS (792,000 bytes each), a packed copy as large; days of'
	@echo 'fetching, then a GPU. Interrupted, the same command goes on. The published network on'
	@echo 'the same images: make published RUN=$(RUN)'
	$(PY) data/download.py --run $(RUN) --survey decals $(DOWNLOAD)
	$(PY) data/download.py --run $(RUN) --survey bassmzls $(DOWNLOAD)
	$(call stages,$(RUN))

simulate: setup  ## 0 the simulated sky: images, catalogue, truth
	$(PY) data/simulate.py --run $(RUN) --galaxies $(N) --overlap $(OVERLAP)
datatxt: setup  ## 1 check the images, list the good ones in train.txt
	$(PY) make_datatxt.py --run $(RUN)
train: setup  ## 2 train the VAE
	$(PY) Galaxy_VAE_n.py --run $(RUN)
latents: setup  ## 3 extract the latent variables
	$(PY) analysis/extract_latents.py --run $(RUN)
classes: setup  ## A1 cut the catalogue into classes and questions
	$(PY) analysis/decals_1.py --run $(RUN)
match: setup  ## A2.1 match the classes to the images on the sky
	$(PY) analysis/decals_2_1.py --run $(RUN)
take: setup  ## A2.2 take the latents of the matched galaxies
	$(PY) analysis/decals_2_2.py --run $(RUN)
project: setup  ## A3 PCA pair plot and map of the latent space
	$(PY) analysis/decals_3.py --run $(RUN)
map: setup  ## A3 the interactive map: one HTML file
	$(PY) analysis/map.py --run $(RUN)
outliers: setup  ## A4 rank the outliers: rare galaxies, bad frames
	$(PY) analysis/decals_4.py --run $(RUN)
similar: setup  ## A7 the galaxies most like those asked about (SIMILAR="--of J112953.88-000427.4")
	$(PY) analysis/similar.py --run $(RUN) $(SIMILAR)
classify: setup  ## A5 the seven questions by a forest on the latents
	$(PY) analysis/classify.py --run $(RUN)
dimension: setup  ## A6 quality against the number of latent variables
	$(PY) analysis/choose_dimension.py --run $(RUN)
probe: setup  ## A9 what each latent tells, of the galaxy and of its image
	$(PY) analysis/probe.py --run $(RUN)
pairs: setup  ## T1 pair the cutouts of the same galaxies in two surveys, and audit them
	$(PY) transfer/make_pairs.py --run $(RUN)
encode: setup  ## T2 both views of each pair through the model as it is
	$(PY) transfer/encode_pairs.py --run $(RUN)
adapt: setup  ## T3 adapt the model to the second survey
	$(PY) transfer/adapt.py --run $(RUN)
compare: setup  ## T4 before and after, on the test pairs
	$(PY) transfer/compare.py --run $(RUN)
larger: setup  ## Part II on larger skies of three seeds, into docs/TRANSFER.md (about an hour)
	$(PY) benchmarks/larger_sky.py
bench: $(VENV)/installed-dev  ## speed against a plain loop, into docs/BENCHMARKS.md (leave the machine alone meanwhile)
	$(PY) benchmarks/speed.py --write $(BENCH)
features: setup  ## what the latents know, beside rivals, into docs/FEATURES.md (needs ../shared/real; hours)
	$(PY) benchmarks/features.py --write
diagram: setup  ## a drawing of the network, made from the model itself
	$(PY) outline/network_diagram.py --run $(RUN)
traversal: setup  ## A8 images along the strongest latents
	$(PY) analysis/traversal.py --run $(RUN)
report: setup  ## the page with every figure and number of the run
	$(PY) analysis/report.py --run $(RUN)
notebooks: $(VENV)/installed-dev  ## execute the notebooks in place, on the demo
	$(PY) outline/execute.py
published: setup  ## the published network with the published settings, on the same images
	$(PY) make_datatxt.py --run data/published --folders $(RUN)/images/decals
	$(PY) Galaxy_VAE_n.py --run data/published --network published --stretch linear \
	  --loss published --epochs 50 --batch-size 512 --learning-rate 1e-5 --schedule constant

# ---- checks
test: $(VENV)/installed-dev  ## the tests
	$(PY) -m pytest -n auto --dist loadfile
coverage: $(VENV)/installed-dev  ## the tests again, and the share of the statements that they run
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest -n auto --dist loadfile
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report --fail-under 90
audit: $(VENV)/installed-dev  ## known weaknesses of the pinned packages (asks pypi.org)
	$(PY) -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	grep -v '^-e' requirements.txt > $(VENV)/pinned.txt
	$(PY) -m pip_audit --requirement $(VENV)/pinned.txt
lint: $(VENV)/installed-dev  ## ruff: rules and layout; mypy: types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
clean:  ## remove the demo's run, not the installation
	rm -rf data/demo

.PHONY: help setup run simulate datatxt train latents classes match take project map outliers \
  similar classify dimension probe pairs encode adapt compare larger bench features diagram \
  traversal report notebooks published \
  real paper \
  test coverage audit lint clean
