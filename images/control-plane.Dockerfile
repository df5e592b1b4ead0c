# The platform: API, console, reconcilers and its gateway.
#
#   docker build -f images/control-plane.Dockerfile -t modelyard/control-plane:TAG .
#
# Pin the base for a release: --build-arg PYTHON=docker.io/library/python:3.11-slim-bookworm@sha256:…
# Behind a mirror: --build-arg INDEX_URL=https://…/simple
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG INDEX_URL=
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /build
COPY locks/bootstrap.lock locks/run.lock locks/server.lock locks/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install ${INDEX_URL:+--index-url "$INDEX_URL"} --no-cache-dir --require-hashes -r locks/bootstrap.lock \
 && python -m venv --without-pip /opt/modelyard \
 && /opt/build/bin/uv pip install ${INDEX_URL:+--index-url "$INDEX_URL"} --no-cache --require-hashes \
      --python /opt/modelyard/bin/python -r locks/server.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/uv build --wheel --no-build-isolation --python /opt/build/bin/python --out-dir dist \
 && /opt/build/bin/uv pip install --no-cache --python /opt/modelyard/bin/python --no-deps dist/*.whl

FROM ${PYTHON}
LABEL org.opencontainers.image.title="modelyard-control-plane" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/modelyard /opt/modelyard
ENV PATH=/opt/modelyard/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MODELYARD_HOME=/data
RUN mkdir /data && chown 10001:10001 /data
VOLUME ["/data", "/tmp"]
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080 8081 8443
ENTRYPOINT ["modelyard"]
CMD ["up"]
