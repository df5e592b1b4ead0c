"""Which machines tasks and services run on, as their classes say."""

from __future__ import annotations

import re

from modelyard.domain.node import NodeClass
from tests.scenarios.engines import Engine, InCluster
from tests.scenarios.things import publish_iris

ALL = ",".join(NodeClass)


def test_tasks_and_services_run_on_machines_of_their_class(engine: Engine) -> None:
    with engine.client() as client:
        names = [each.name for each in client.accounts.nodes()]
    if not isinstance(engine, InCluster):
        (only,) = names
        assert only
        assert "control,compute,deploy" in engine.cli("node", "show", only)
        engine.cannot("one machine is of every class")
    engine.require_own("its nodes are not classified")
    compute, deploy = names
    try:
        engine.cli("node", "label", compute, "--class", "compute")
        engine.cli("node", "label", deploy, "--class", "control,deploy")
        before = _sent(engine)
        with engine.client() as client:
            publish_iris(client, "placed")
            client.deploy("placed@1", name="placed", replicas=3)
            engine.cli("test", "placed@1")
        assert {pod["spec"]["nodeName"] for pod in engine.objects("pods", "placed")} == {deploy}
        tasks = [node for event, node in _sent(engine).items() if event not in before]
        assert len(tasks) >= 2, "one validated the model, another tested it"
        assert set(tasks) == {compute}
    finally:
        for name in names:
            engine.cli("node", "label", name, "--class", ALL)
        with engine.client() as client:
            client.undeploy("placed")


def _sent(engine: InCluster) -> dict[str, str]:
    """Which node the scheduler sent each task's pod to, by the event that says so."""
    said = {each["metadata"]["name"]: each["message"] for each in engine.objects("events")}
    found = {name: re.search(r"/task-\S+ to (\S+)$", message) for name, message in said.items()}
    return {name: match[1] for name, match in found.items() if match}
