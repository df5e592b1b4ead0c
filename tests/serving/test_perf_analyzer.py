"""Triton's load generator, as it is in the wheel, measures a replica over gRPC and HTTP."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.peers import environments
from tests.serving.replicas import Replica

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def perf_analyzer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The program and what it needs to find its libraries; one of them is only in Debian's archive."""
    try:
        home = environments.interpreter("perf").parents[1]
    except RuntimeError as error:
        pytest.skip(f"the environment of perf_analyzer cannot be made here: {error}")
    where = tmp_path_factory.mktemp("libb64")
    try:
        subprocess.run(["apt-get", "download", "libb64-0d"], cwd=where, capture_output=True, check=True)
        (package,) = where.glob("*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(where)], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"Debian's libb64-0d, which perf_analyzer needs, cannot be had here: {error}")
    libraries = [*where.rglob("libb64.so.0d"), *home.rglob("libcudart.so.12")]
    paths = ":".join(str(library.parent) for library in libraries)
    program = home / "bin" / "perf_analyzer"
    program.chmod(0o755)
    return program, {**os.environ, "LD_LIBRARY_PATH": paths}


@pytest.mark.parametrize(
    ("protocol", "more"),
    [("http", []), ("grpc", []), ("grpc", ["--streaming"])],
    ids=["http", "calls", "streams"],
)
def test_it_measures(
    perf_analyzer: tuple[Path, dict[str, str]], echo: Replica, protocol: str, more: list[str]
) -> None:
    program, environ = perf_analyzer
    options = ["--concurrency-range", "4", "--request-count", "200", "--shape", "input:4"]
    where = ["-m", "echo", "-u", f"127.0.0.1:{echo.port}", "-i", protocol]
    done = subprocess.run(
        [str(program), *where, *options, *more],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Throughput:" in done.stdout
    assert "Failed" not in done.stdout
