"""gRPC through the front door: real replicas, real Envoy, unmodified grpcio."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.domain.endpoint import Mirror, Share, Target
from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import Place
from tests.gateway.support import TOKEN, Route, route
from tests.serving.calls import Calls, request, values
from tests.serving.replicas import Replica, infer_body, replica
from tests.support.patience import PATIENCE

Code = grpc.StatusCode
SERVICE = "x-modelyard-service"


@pytest.fixture(scope="module")
def running() -> Iterator[Replica]:
    with replica() as ready:
        yield ready


def to(name: str, *replicas: Replica, public: bool = True) -> Route:
    targets = tuple(Target(replica=f"r{n}", address=each.listen) for n, each in enumerate(replicas))
    return dataclasses.replace(route(name, public=public), shares=(Share(name=name, targets=targets),))


async def told(call: Any) -> Any:
    """What became of a call, made beside the loop."""

    def made() -> Any:
        try:
            return call()
        except grpc.RpcError as error:
            return error

    return await asyncio.to_thread(made)


async def test_a_call_names_its_service_by_host_or_by_metadata(
    place: Place, gateway: EnvoyGateway, running: Replica
) -> None:
    names = ("default/echo", "default/echo@test", "risk/echo")
    await gateway.publish([to(name, running) for name in names])
    plain = Calls(f"127.0.0.1:{place.port}")
    for spelled in ("echo", "default/echo", "echo@production", "echo@test", "default/echo@test", "risk/echo"):
        answer = await told(lambda s=spelled: plain.infer(request(1), metadata=[(SERVICE, s)]))
        assert values(answer) == (1,), spelled
    for host in ("echo.service.localhost", "test.echo.service.localhost", "echo.risk.service.localhost"):
        calls = Calls(f"127.0.0.1:{place.port}", default_authority=host)
        assert values(await told(lambda c=calls: c.infer(request(2)))) == (2,), host
        stream = await told(lambda c=calls: list(c.stream(iter([request(1), request(2)]))))
        assert [values(each.infer_response) for each in stream] == [(1,), (2,)]
        health = health_pb2_grpc.HealthStub(calls.channel)
        check = await told(lambda h=health: h.Check(health_pb2.HealthCheckRequest(), timeout=5))
        assert check.status == 1


@pytest.mark.parametrize("spelled", ["", "nope", "xecho", "echo@nope", "other/echo", "echo/", "Echo"])
async def test_a_call_for_no_service_says_how_to_name_one(
    place: Place, gateway: EnvoyGateway, running: Replica, spelled: str
) -> None:
    await gateway.publish([to("default/echo", running)])
    calls = Calls(f"127.0.0.1:{place.port}")
    error = await told(lambda: calls.infer(request(1), metadata=[(SERVICE, spelled)] if spelled else []))
    assert error.code() == Code.UNIMPLEMENTED
    assert "name it with the metadata x-modelyard-service" in error.details()


async def test_tokens_open_calls_and_stay_at_the_gateway(
    place: Place, gateway: EnvoyGateway, running: Replica
) -> None:
    await gateway.publish([to("default/echo", running, public=False)])
    calls = Calls(f"127.0.0.1:{place.port}", default_authority="echo.service.localhost")
    for name, value in (("authorization", f"Bearer {TOKEN}"), ("x-api-key", TOKEN)):
        assert values(await told(lambda n=name, v=value: calls.infer(request(1), metadata=[(n, v)]))) == (1,)
    for metadata in ([], [("authorization", "Bearer wrong")]):
        error = await told(lambda m=metadata: calls.infer(request(1), metadata=m))
        assert error.code() == Code.UNAUTHENTICATED
        assert "token" in error.details()
        assert not error.details().startswith("{")


async def test_mistakes_keep_their_code_and_place_through_the_gateway(
    place: Place, gateway: EnvoyGateway, running: Replica
) -> None:
    await gateway.publish([to("default/echo", running)])
    calls = Calls(f"127.0.0.1:{place.port}", default_authority="echo.service.localhost")
    error = await told(lambda: calls.infer(request(1, model="nope")))
    assert (error.code(), 'unknown model "nope"' in error.details()) == (Code.NOT_FOUND, True)
    wrong = request(1)
    wrong.inputs[0].datatype = "FP32"
    error = await told(lambda: calls.infer(wrong))
    assert dict(error.trailing_metadata())["x-modelyard-path"] == "inputs[0].datatype"
    assert "x-modelyard-retry" not in dict(error.trailing_metadata())


async def test_a_service_without_a_replica_is_unavailable(place: Place, gateway: EnvoyGateway) -> None:
    await gateway.publish([to("default/echo")])
    calls = Calls(f"127.0.0.1:{place.port}", default_authority="echo.service.localhost")
    error = await told(lambda: calls.infer(request(1)))
    assert (error.code(), error.details()) == (
        Code.UNAVAILABLE,
        "no replica of this service is ready; try again",
    )


async def test_a_replica_of_another_service_answers_as_the_one_that_was_asked(
    place: Place, gateway: EnvoyGateway, running: Replica
) -> None:
    asked, (own,) = route("default/churn"), to("default/echo", running).shares
    mirror = Mirror(share=dataclasses.replace(own, name="default/shadow"), percent=100)
    await gateway.publish([dataclasses.replace(asked, shares=(own,), mirrors=(mirror,))])
    calls = Calls(f"127.0.0.1:{place.port}", default_authority="churn.service.localhost")
    answer = await told(lambda: calls.infer(request(1, model="churn")))
    assert (answer.model_name, values(answer)) == ("churn", (1,))
    stream = await told(lambda: list(calls.stream(iter([request(2, model="churn")]))))
    assert [each.infer_response.model_name for each in stream] == ["churn"]
    metadata = await told(lambda: calls.ask("ModelMetadata", name="churn"))
    assert metadata.name == "churn"
    async with place.client() as client:
        body = json.loads(infer_body(3))
        for path, named in (("/v2/models/churn/infer", "model_name"), ("/v2/models/churn", "name")):
            there = client.post(path, json=body) if path.endswith("infer") else client.get(path)
            found = await there
            assert (found.status_code, found.json().get(named)) == (200, "churn"), found.text
        found = await client.post(
            "/services/default/churn/v1/models/churn:predict", json={"instances": [[1.0]]}
        )
        assert found.status_code == 200, found.text
        # Nobody but the gateway may give a replica another name.
        found = await client.post("/v2/models/other/infer", json=body, headers={"x-modelyard-alias": "other"})
        assert found.status_code == 404
    async with asyncio.timeout(PATIENCE):
        while not (copies := await gateway.copies()) or copies[0].sent < 6:
            await asyncio.sleep(0.02)


async def test_no_call_is_lost_while_replicas_are_replaced(place: Place, gateway: EnvoyGateway) -> None:
    stop = threading.Event()
    with replica() as first, replica() as second:
        await gateway.publish([to("default/echo", first)])
        with ThreadPoolExecutor(8) as pool:
            callers = [pool.submit(_call_on, place.port, stop) for _ in range(8)]
            await asyncio.sleep(0.5)
            await gateway.publish([to("default/echo", first, second)])
            await asyncio.sleep(0.3)
            await gateway.publish([to("default/echo", second)])
            await asyncio.sleep(0.2)
            first.process.terminate()
            assert await asyncio.to_thread(first.process.wait, 20) == 0
            await asyncio.sleep(0.3)
            stop.set()
            outcomes = [await asyncio.to_thread(caller.result, 30) for caller in callers]
    assert sum(count for count, _ in outcomes) > 50
    assert [error for _, errors in outcomes for error in errors] == []


def _call_on(port: int, stop: threading.Event) -> tuple[int, list[str]]:
    calls = Calls(
        f"127.0.0.1:{port}",
        default_authority="echo.service.localhost",
        use_local_subchannel_pool=1,
        enable_retries=0,
    )
    count, errors = 0, []
    while not stop.is_set():
        try:
            assert values(calls.infer(request(count))) == (count,)
        except grpc.RpcError as error:
            errors.append(f"{error.code()} {error.details()}")
        count += 1
        time.sleep(0.002)
    return count, errors
