"""An API server that no test steers: a given cluster's, one of `KUBEBUILDER_ASSETS`, or a stand-in."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from tests.support.apiserver.reached import LACKS, Reached, reached
from tests.support.connected import HASTE

_ASKED: list[str] = []
_NOT_ASKED: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(what): asked only of an API server that offers this")


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    with reached(tmp_path_factory.mktemp("apiserver")) as found:
        _ASKED.append(found.what)
        yield found


@pytest.fixture(autouse=True)
def _able(request: pytest.FixtureRequest) -> None:
    """Skip what this API server does not offer, by name and with the reason."""
    for marker in request.node.iter_markers("needs"):
        if marker.args[0] not in request.getfixturevalue("apiserver").offers:
            _NOT_ASKED[request.node.name] = LACKS[marker.args[0]]
            pytest.skip(LACKS[marker.args[0]])


@pytest.fixture
async def cluster(apiserver: Reached) -> AsyncIterator[Cluster]:
    made = connected(apiserver.kubeconfig)
    yield made
    await made.close()


def connected(kubeconfig: Path, *, namespace: str = "") -> Cluster:
    """A client as the platform makes it; where it is installed, of its own namespace."""
    access = config.load({}, kubeconfig=str(kubeconfig))
    if namespace:
        access = replace(access, namespace=namespace)
    return Cluster(access, clock=time.time, limits=HASTE)


@pytest.fixture
async def space(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace of the test's own."""
    name = f"modelyard-test-{uuid.uuid4().hex[:8]}"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    await cluster.delete(kinds.NAMESPACE, name)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _ASKED:
        return
    terminalreporter.section("the API server")
    terminalreporter.write_line(f"asked: {_ASKED[0]}")
    for name, why in _NOT_ASKED.items():
        terminalreporter.write_line(f"    not asked: {name}: {why}")
