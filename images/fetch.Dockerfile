# Brings a model's files into a pod, checked, before another server starts. The standard library is all it needs.
#
#   docker build -f images/fetch.Dockerfile -t modelyard/fetch:TAG .
#
# Pin the base for a release: --build-arg PYTHON=docker.io/library/python:3.11-slim-bookworm@sha256:…
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON}
LABEL org.opencontainers.image.title="modelyard-fetch" org.opencontainers.image.licenses="Apache-2.0"
COPY src/modelyard_fetch /opt/modelyard/modelyard_fetch
ENV PYTHONPATH=/opt/modelyard HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["python"]
CMD ["-m", "modelyard_fetch", "--help"]
