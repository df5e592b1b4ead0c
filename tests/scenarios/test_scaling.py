"""How many replicas there are, and where."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import httpx2

from modelyard import Client
from modelyard.domain.errors import ModelyardError
from modelyard.domain.views import State
from tests.scenarios.engines import Engine, InCluster, until
from tests.scenarios.things import publish_burner, publish_iris, publish_talker


def told(client: Client, service: str) -> dict[str, object]:
    """What the talker says of itself."""
    answer = client.service(service).predict_json({"x": [1.0]})
    found: dict[str, object] = json.loads(answer["said"][0])
    return found


def test_several_replicas_are_spread_and_each_is_asked(engine: Engine, tmp_path: Path) -> None:
    with engine.client() as client:
        publish_talker(engine, client, "spread", tmp_path)
        client.deploy("spread@1", name="spread", replicas=3)
        names = {each.name for each in engine.replicas("spread")}
        assert len(names) == 3
        seen: set[object] = set()

        def each_was_asked() -> bool:
            # In a pod a replica calls itself by the pod's name.
            seen.add(told(client, "spread")["replica"])
            return len(seen) == len(names)

        until(each_was_asked, "each was asked")
        if isinstance(engine, InCluster):
            assert len({pod["spec"]["nodeName"] for pod in engine.objects("pods", "spread")}) == 2
        client.deployments.scale("spread", 1)
        client.deployments.wait("spread")
        until(lambda: len(engine.replicas("spread")) == 1, "one is left")
        assert engine.replicas("spread")[0].name in names
        client.undeploy("spread")


def test_a_service_sleeps_and_all_who_ask_meanwhile_are_answered(engine: Engine, tmp_path: Path) -> None:
    with engine.client() as client:
        publish_talker(engine, client, "sleeper", tmp_path)
        engine.cli(
            "deploy", "sleeper@1", "--name", "sleeper", "--public", "--min", "0", "--max", "2",
            "--autoscale", "concurrency:100", "--idle", "2s",
        )  # fmt: skip

        def asleep() -> bool:
            view = client.deployments.get("sleeper")
            return view.state is State.ASLEEP and not view.status.replicas

        until(asleep, "it sleeps")
        assert asyncio.run(_ask(engine, 20)) == [200] * 20
        until(asleep, "it sleeps again")
        client.undeploy("sleeper")


async def _ask(engine: Engine, count: int) -> list[int]:
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [4.0]}]}
    path = "/services/default/sleeper/v2/models/sleeper/infer"
    async with httpx2.AsyncClient(base_url=engine.platform.url, timeout=90, trust_env=False) as client:
        answers = await asyncio.gather(*(client.post(path, json=body) for _ in range(count)))
        return [answer.status_code for answer in answers]


def test_work_calls_for_more_replicas_and_rest_for_fewer(engine: Engine, tmp_path: Path) -> None:
    rule = {"min": 1, "max": 2, "on": "cpu:50%", "down_seconds": 3.0}
    with engine.client() as client:
        publish_burner(client, "burner", tmp_path)
        client.deploy("burner@1", name="burner", cpu="0.2", autoscaling=rule)
        failed: list[Exception] = []
        ended = threading.Event()
        work = threading.Thread(target=_keep_busy, args=(engine, ended, failed))
        work.start()
        try:
            until(lambda: len(engine.replicas("burner")) == 2, "work calls for a second replica")
            if isinstance(engine, InCluster):
                assert engine.objects("horizontalpodautoscalers", "burner")
                view = client.deployments.get("burner")
                assert view.status.scaling.reason == "Cluster"
        finally:
            ended.set()
            work.join()
        until(lambda: len(engine.replicas("burner")) == 1, "rest calls for one")
        assert not failed
        client.undeploy("burner")


def _keep_busy(engine: Engine, ended: threading.Event, failed: list[Exception]) -> None:
    with engine.client() as client:
        while not ended.is_set():
            try:
                client.service("burner").predict_json({"seconds": [0.3]})
            except ModelyardError as error:
                failed.append(error)


def test_what_asks_for_more_than_there_is_waits_with_the_reason(engine: Engine) -> None:
    engine.require_own("it may have GPUs")
    with engine.client() as client:
        publish_iris(client, "waits")
        for name, wanted, resource in (("no-cpu", {"cpu": "1000"}, "cpu"), ("no-gpu", {"gpu": 1}, "gpu")):
            client.deploy("waits@1", name=name, wait=False, **wanted)

            def said(name: str = name, resource: str = resource) -> bool:
                view = client.deployments.get(name)
                return view.state is State.PENDING and f"insufficient {_called(resource)}" in view.message

            until(said, f"{name} waits and says for what")
            assert "insufficient" in engine.cli("explain", name)
            client.deploy("waits@1", name=name)
            assert client.deployments.get(name).state is not State.PENDING
            client.undeploy(name)


def test_what_waits_for_room_starts_when_there_is_some(engine: Engine) -> None:
    engine.require_own("how much room there is, and who else wants it, is not known")
    with engine.client() as client:
        publish_iris(client, "room")
        client.deploy("room@1", name="takes-it", cpu="20", replicas=engine.nodes)
        client.deploy("room@1", name="wants-it", cpu="20", wait=False)
        until(lambda: "insufficient cpu" in client.deployments.get("wants-it").message, "it waits for cores")
        assert client.deployments.get("wants-it").state is State.PENDING
        client.undeploy("takes-it")
        assert client.deployments.wait("wants-it").status.ready_replicas == 1
        client.undeploy("wants-it")


def _called(resource: str) -> str:
    return {"cpu": "cpu", "gpu": "nvidia.com/gpu"}[resource]
