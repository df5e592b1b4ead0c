# Modelyard's own server with the libraries of the default runtime: scikit-learn, XGBoost, LightGBM, ONNX, PMML,
# tokenizers. Its fetcher brings models' files into pods.
#
#   docker build -f images/serving.Dockerfile -t modelyard/serving:TAG .
#
# Pin the base for a release: --build-arg PYTHON=docker.io/library/python:3.11-slim-bookworm@sha256:…
# Behind a mirror: --build-arg INDEX_URL=https://…/simple
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG INDEX_URL=
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /build
COPY locks/bootstrap.lock locks/run.lock locks/serving.lock locks/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install ${INDEX_URL:+--index-url "$INDEX_URL"} --no-cache-dir --require-hashes -r locks/bootstrap.lock \
 && python -m venv --without-pip /opt/modelyard \
 && /opt/build/bin/uv pip install ${INDEX_URL:+--index-url "$INDEX_URL"} --no-cache --require-hashes \
      --python /opt/modelyard/bin/python -r locks/serving.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/uv build --wheel --no-build-isolation --python /opt/build/bin/python --out-dir dist \
 && /opt/build/bin/uv pip install --no-cache --python /opt/modelyard/bin/python --no-deps dist/*.whl

FROM ${PYTHON}
LABEL org.opencontainers.image.title="modelyard-serving" org.opencontainers.image.licenses="Apache-2.0"
# The OpenMP runtime of XGBoost, LightGBM and scikit-learn's own wheels.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/modelyard /opt/modelyard
ENV PATH=/opt/modelyard/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["python"]
CMD ["-m", "modelyard.serving", "--help"]
