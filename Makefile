# Everything runs in .venv, which is built here: once, and again only after pyproject.toml changed.
# Without make, README.md names the same commands.

PYTHON ?= python3
RUN := .venv/bin/python

# A folder or URL that stands in for the network: make data MIRROR=/media/stick/coco-mini
MIRROR ?= $(MINIM2F_MIRROR)
ifneq ($(MIRROR),)
export MINIM2F_MIRROR := $(MIRROR)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lab data bench chapter notebooks student lecture html slides play site
.PHONY: clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv/stamp ## train the tiny model, segment unseen pictures three ways: out/demo.png
	$(RUN) -m minim2f demo

test: .venv/stamp ## run all tests, and every notebook
	$(RUN) -m pytest -q tests --nbmake notebooks

lab: .venv/stamp ## open the notebooks in JupyterLab
	$(RUN) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks

data: .venv/stamp ## fetch coco-mini, the small set of real pictures (MIRROR=folder or URL)
	$(RUN) -m minim2f data fetch $(if $(MIRROR),--mirror "$(MIRROR)")

bench: .venv/stamp ## time and memory beside Hugging Face Transformers, half an hour
	$(RUN) -m minim2f bench

chapter: .venv/stamp ## lay a new chapter, to be filled: N=04 (TITLE="..." if the README has none)
	$(RUN) -m minim2f book new $(N) $(if $(TITLE),--title "$(TITLE)")

notebooks: .venv/stamp ## build every .ipynb from its .py, with outputs and solutions
	$(RUN) -m minim2f book build

student: .venv/stamp ## the chapters without solutions: out/student
	$(RUN) -m minim2f book student

lecture: .venv/stamp ## only the cells to show in class: out/lecture
	$(RUN) -m minim2f book lecture

html: .venv/stamp ## the chapters as web pages: out/html
	$(RUN) -m minim2f book html

slides: .venv/stamp ## slides to lecture from, without a network: out/slides (N=07 for one chapter)
	$(RUN) -m minim2f book slides $(N)

play: .venv/stamp ## one page to play with predictions, without a network: out/play.html
	$(RUN) -m minim2f book play

site: .venv/stamp ## book and reference as a web site, without a network: out/site (STUDENT=1: no solutions)
	$(RUN) -m minim2f book site $(if $(STUDENT),--student)

clean: ## back to a fresh clone; fetched pictures stay
	rm -rf .venv out .pytest_cache .ruff_cache
	find minim2f tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} +

define REQUIRE
import sys
if sys.version_info < (3, 10):
    sys.exit("minim2f needs Python 3.10 or newer, but $(PYTHON) is %d.%d. \
Name a newer one: make PYTHON=python3.12" % sys.version_info[:2])
endef
export REQUIRE

# The stamp comes last, so an installation that broke off is taken up again by the next make.
.venv/stamp: pyproject.toml
	@$(PYTHON) -c "$$REQUIRE"
	@echo "Setting up .venv, once: the download is large, this takes some minutes."
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --disable-pip-version-check -e ".[notebooks,test]"
	@touch $@
