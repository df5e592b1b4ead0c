# Everything a person or a machine does with this project. `make run` needs Python >= 3.11 and nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := .make/uv/bin/uv
UV_FLAGS := --quiet --link-mode=copy --compile-bytecode --require-hashes

.PHONY: help run demo frameworks test check e2e bench docs chart console lock clean

help: ## Show what there is.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: .make/run ## Start the platform with its demo models on http://127.0.0.1:8080; Ctrl-C stops it.
	@exec $(BIN)/modelyard up --demo

test: .make/dev ## Run every test that this machine can run.
	@$(BIN)/python tools/run_tests.py

e2e: .make/dev ## Run the end-to-end stories only; KUBECONFIG=file asks that cluster, KUBEBUILDER_ASSETS=dir its API server.
ifeq ($(origin KUBECONFIG),command line)
	@SCENARIOS_KUBECONFIG=$(abspath $(KUBECONFIG)) $(BIN)/python -m pytest tests/kubernetes/real tests/scenarios
else ifneq ($(KUBEBUILDER_ASSETS),)
	@KUBEBUILDER_ASSETS=$(abspath $(KUBEBUILDER_ASSETS)) $(BIN)/python -m pytest tests/kubernetes/real tests/scenarios
else
	@$(BIN)/python -m pytest tests/e2e
endif

frameworks: .make/dev ## Install PyTorch, Keras and TensorFlow for their tests, below .venvs.
	@$(BIN)/python -m tests.support.frameworks

check: .make/dev ## Lint, types, import contracts, sizes, generated pages.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/codespell src docs tests tools bench README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md
	@$(BIN)/python tools/check_sizes.py
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@$(BIN)/python tools/unasync_client.py --check
	@$(BIN)/python tools/generate_docs.py --check
	@$(BIN)/python tools/generate_protos.py --check
	@$(BIN)/python tools/generate_chart.py --check

bench: .make/dev ## Measure; WORKLOAD=start|cold|wake|memory|predict|rollout|traffic|grpc narrows it, WORKLOAD=peers[:identity,…] compares.
	@$(BIN)/python -m bench $(WORKLOAD)

docs: .make/dev ## Write the generated pages of the reference.
	@$(BIN)/python tools/generate_docs.py

chart: .make/dev ## Write the Helm chart below deploy/helm.
	@$(BIN)/python tools/generate_chart.py

console: .make/run ## The console is part of the package; this prints a fresh login link.
	@$(BIN)/modelyard login --link

lock: $(UV) ## Resolve the dependencies anew.
	@for set in run dev spark bootstrap clients server serving cuda; do tools/lock.sh $(UV) $$set; done

clean: ## Remove what `make` installed here; data directories stay.
	rm -rf $(VENV) .make

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Modelyard needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv .make/uv \
	  || { echo "this Python cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@.make/uv/bin/python -m pip install --quiet --require-hashes -r locks/bootstrap.lock

.make/run: $(UV) locks/run.lock pyproject.toml
	@echo "installing into $(VENV) …" >&2
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip install $(UV_FLAGS) --python $(BIN)/python -r locks/run.lock
	@$(UV) pip install $(UV_FLAGS) --python $(BIN)/python -r locks/bootstrap.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

.make/dev: .make/run locks/dev.lock
	@$(UV) pip install $(UV_FLAGS) --python $(BIN)/python -r locks/dev.lock
	@touch $@
