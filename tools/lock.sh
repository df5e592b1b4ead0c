#!/usr/bin/env bash
# Resolve one set of dependencies into a lock file with hashes: lock.sh UV run|dev|spark|bootstrap|clients|server|serving|cuda
set -euo pipefail
uv=$1 set=$2
common=(--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet)
case $set in
  bootstrap) printf 'uv\nhatchling\neditables\n' | "$uv" pip compile - "${common[@]}" -o locks/bootstrap.lock ;;
  run) "$uv" pip compile pyproject.toml --extra all "${common[@]}" -o locks/run.lock ;;
  dev) "$uv" pip compile pyproject.toml --extra all --extra catboost --extra mlflow --group dev --constraint locks/run.lock "${common[@]}" -o locks/dev.lock ;;
  # Clients of other projects, which tests run unmodified in an environment of their own.
  clients) printf 'kserve\nopenai\nschemathesis\n' | "$uv" pip compile - "${common[@]}" -o locks/clients.lock ;;
  spark) "$uv" pip compile pyproject.toml --extra spark "${common[@]}" -o locks/spark.lock ;;
  # What images hold: the platform, and its inference server without and with NVIDIA GPUs.
  server) "$uv" pip compile pyproject.toml --extra server --constraint locks/run.lock "${common[@]}" -o locks/server.lock ;;
  serving) "$uv" pip compile pyproject.toml --extra serving --extra sklearn --extra xgboost --extra lightgbm --extra onnx --extra huggingface --extra pmml --constraint locks/run.lock "${common[@]}" -o locks/serving.lock ;;
  cuda) "$uv" pip compile pyproject.toml --extra serving --extra cuda --constraint locks/run.lock "${common[@]}" -o locks/cuda.lock ;;
  *) echo "unknown set: $set" >&2; exit 2 ;;
esac
