# Everything there is to do here. Tools that are missing are brought by the targets themselves; they need Python
# 3.11 or newer with its venv module to begin with, and root or Docker for a cluster.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/alrun
UV := $(shell command -v uv 2>/dev/null || echo $(CACHE)/uv/bin/uv)
PYTHON := .venv/bin/python
STAMP := .venv/.synced
# Heavy and patient: other work on the machine goes first.
NICE := nice -n 5
PYTEST := $(PYTHON) -m pytest

# Which cluster: `demo` unless said otherwise; tests have one of their own. A cluster of yours only if you name it.
export ALRUN_CLUSTER ?= demo
export CONTEXT REGISTRY BASE_IMAGE

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-model test-contract test-cluster lint cluster cluster-down images crds docs bench-operator bench-convert bench-staging bench-selection bench-label-efficiency clean

help: ## Say what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## Whole run on a cluster made here; DATA=DIR FORMAT=voc|kitti|coco|yolo for data of your own
	@$(PYTHON) -m localcluster.demo $(if $(DATA),--data "$(DATA)") $(if $(FORMAT),--format "$(FORMAT)")

test: lint test-unit test-model test-contract test-cluster ## All checks and tests, on a cluster of their own

lint: $(STAMP) ## Style, imports between layers, types, generated files
	@echo "== lint"
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/lint-imports
	@.venv/bin/mypy

test-unit: $(STAMP) ## Unit tests: no cluster, under a minute
	@echo "== unit tests"
	@$(PYTEST) -q -n auto tests/unit

test-model: $(STAMP) ## Random schedules and crashes against a model of the API server
	@echo "== model tests"
	@ALRUN_SCHEDULES=10000 $(NICE) $(PYTEST) -q tests/model

test-contract: $(STAMP) ## Tests against the real programs of others
	@echo "== contract tests"
	@tools=$$(python3 -m localcluster tools) && eval "$$tools" && ALRUN_REQUIRE_TOOLS=1 $(NICE) $(PYTEST) -q -n auto --dist loadgroup tests/contract

test-cluster: $(STAMP) ## Tests on a real Kubernetes, which is removed afterwards
	@echo "== cluster tests"
	@export ALRUN_CLUSTER=test; trap 'python3 -m localcluster down' EXIT; trap 'exit 130' INT TERM; \
	  $(PYTEST) -v --durations=10 tests/cluster

cluster: ## A Kubernetes to work with; prints the line that makes kubectl use it
	@python3 -m localcluster up

cluster-down: ## Remove the cluster and everything in it
	@python3 -m localcluster down

images: ## Build both images and give them to the cluster
	@python3 -m localcluster images

crds: $(STAMP) ## Make crds/ from the models
	@$(PYTHON) -m alrun.api.crd > crds/activelearningruns.yaml.part && mv crds/activelearningruns.yaml.part crds/activelearningruns.yaml

docs: $(STAMP) ## Make the generated parts of docs/
	@$(PYTHON) -m alrun.api.reference > docs/reference.md.part && mv docs/reference.md.part docs/reference.md

bench-operator: $(STAMP) ## Measure the operator: latency, API calls, memory, recovery
	@tools=$$(python3 -m localcluster tools) && eval "$$tools" && $(PYTHON) bench/operator.py

bench-convert: $(STAMP) ## Measure the conversion of predictions against labelformat
	@$(PYTHON) bench/convert.py

bench-staging: $(STAMP) ## Measure labels on their way to a foreign trainer, and predictions on their way back, against labelformat
	@$(PYTHON) bench/staging.py

bench-selection: $(STAMP) ## Measure the embedded engine against Lightly's selection, and a merge of shards against the whole
	@$(PYTHON) bench/selection.py

bench-label-efficiency: $(STAMP) ## Measure what rules are worth at equal boxes (hours; ARGS="--data DIR --format voc" for images of your own)
	@$(PYTHON) bench/label_efficiency.py --out .local/label-efficiency $(or $(ARGS),--set generated:202)

clean: ## Remove what the targets made in this folder
	rm -rf .venv .local .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml uv.lock | $(UV)
	@echo "== setting up .venv"
	@$(UV) sync --frozen --quiet
	@touch $@

$(CACHE)/uv/bin/uv:
	@echo "== fetching uv"
	@python3 -m venv $(CACHE)/uv && $(CACHE)/uv/bin/pip install --quiet --disable-pip-version-check uv
