# One word a task. `make help` lists them.
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help venv serve test check fmt lock up down e2e e2e-all images tools bench-engine bench-service bench-operator crd

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## Create .venv with everything for development
	@scripts/venv dev

serve: venv ## Start the service on 127.0.0.1:8000 with the demo models
	@EMBEDDING_MODEL=$${EMBEDDING_MODEL-demo/bge-m3} RERANKER_MODEL=$${RERANKER_MODEL-demo/bge-reranker-v2-m3} \
		$(BIN)/smart-embedder serve --host $${HOST:-127.0.0.1} --port $${PORT:-8000}

test: venv ## Run the tests (no root, GPU, Docker or model hub needed)
	@$(BIN)/pytest

check: venv ## Format, lint, types and the arrows between the layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: venv ## Format and mend what can be mended
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

lock: venv ## Lock the dependencies again from pyproject.toml
	@scripts/lock

up: venv ## A cluster with the operator and an answering Embedder
	@$(BIN)/python -m e2e.up

down: venv ## Take it all away again
	@$(BIN)/python -m e2e.down

e2e: venv ## The core cases on a real cluster (needs root on Linux, or KUBECONFIG)
	@$(BIN)/pytest e2e -m core

e2e-all: venv ## Every case on a real cluster
	@$(BIN)/pytest e2e

images: venv ## Build the images and print their sizes
	@$(BIN)/python -m e2e.images

tools: venv ## Build helm and the chart's checkers into the cache
	@$(BIN)/python -m e2e.cluster tools

bench-engine: ## The engine beside its peers, interleaved
	@scripts/venv bench
	@$(BIN)/python -m bench.engine

bench-service: venv ## HTTP overhead, overload, fairness, memory
	@$(BIN)/python -m bench.service

bench-operator: venv ## 1,000 Embedders against a real API server
	@$(BIN)/python -m bench.operator

crd: venv ## Write the CRD from operator/…/spec.py into the chart
	@$(BIN)/smart-embedder-operator crd > charts/smart-embedder/files/crd.yaml
