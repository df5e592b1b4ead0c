"""One GPU: whoever has it has it alone, and the next waits with the reason until it is free."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from modelyard.domain.views import DeploymentView, State
from tests.support.command import until
from tests.support.platform import Running


@pytest.fixture
def one_gpu(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "home", settings="[node]\ngpus = 1\n").start()
    yield running
    running.stop()


def test_a_second_service_waits_for_the_only_gpu_until_the_first_is_gone(one_gpu: Running) -> None:
    x, y = load_iris(return_X_y=True)
    with one_gpu.client() as client:
        client.publish(DecisionTreeClassifier().fit(x, y), "tree", x_test=x)
        client.deploy("tree@1", name="first")
        client.deploy("tree@1", name="first", gpu=1, max_surge=1)
        assert held(client.deployments.get("first")) == [(0,)]
        client.deploy("tree@1", name="second", gpu=1, wait=False)
        reason = "insufficient nvidia.com/gpu: needs 1, free 0"
        until(lambda: reason in client.deployments.get("second").message, reason)
        assert client.deployments.get("second").state is State.PENDING
        client.undeploy("first")
        assert held(client.deployments.wait("second")) == [(0,)]


def held(view: DeploymentView) -> list[tuple[int, ...]]:
    """The GPUs of each replica of the newest revision; one of the revision before may still be leaving."""
    return [each.gpus for each in view.status.replicas if each.revision == view.revision]
