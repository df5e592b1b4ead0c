"""Everything that may happen to a service while it is asked over HTTP and gRPC without a pause."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import grpc
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from modelyard import Client
from modelyard.domain.address import Address
from modelyard.domain.deployment import DeploymentSpec
from modelyard.gateway import authority
from modelyard.oip.grpc import inference_pb2 as pb
from tests.support.load import Load, Outcome
from tests.support.platform import Running

SERVICE = "busy"
HOST = "busy.example.com"
RIVALS = ("duel-1", "duel-2")
_OWN = authority.make_authority("lossless", now=time.time())
_PAUSE_SECONDS = 0.2
"""Enough requests meet the state after a change before the next one comes."""
METHOD = "/inference.GRPCInferenceService/ModelInfer"


@dataclass
class Calls:
    """What came of gRPC calls: codes to count, and when which failed."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    @property
    def failed(self) -> int:
        return self.total - self.answers["OK"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Both loads on one service."""

    http: Outcome
    grpc: Calls

    def require_none_failed(self) -> None:
        """Nothing when every request and call succeeded, and there were some."""
        assert self.http.total > 0
        assert self.grpc.total > 0
        failures = [*self.http.failures, *self.grpc.failures]
        assert not failures, f"{len(failures)} of {self.http.total + self.grpc.total}: {failures[:20]}"


def publish(client: Client, *, public: bool = False) -> str:
    """Two versions of a model and a service of the first with two replicas; the service's token."""
    x, y = load_iris(return_X_y=True)
    for strength in (0.1, 1.0):
        client.publish(LogisticRegression(C=strength, max_iter=1000).fit(x, y), SERVICE, x_test=x)
    token: str = client.deploy(f"{SERVICE}@1", name=SERVICE, replicas=2, public=public).token
    return token


def rivals(client: Client, *, public: bool = False) -> str:
    """Two services that want the same host, of which the second has it; the token of the first."""
    for number, name in enumerate(RIVALS, 1):
        spec = DeploymentSpec(model=f"{SERVICE}@{number}", address=Address(host=HOST), public=public)
        client.deployments.apply(name, spec)
        client.deployments.wait(name)
    _until_offline(client, RIVALS[0])
    return client.deployments.token(RIVALS[0])


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes: HTTP requests, and gRPC calls over connections of their own."""

    load: Load
    connect: Callable[[], grpc.aio.Channel]
    model: str
    token: str
    service: str = ""
    """Which service a call names; empty when its host says that."""


def at_the_service(running: Running, token: str, *, rate: float) -> Target:
    """The service that changes, by its path, with `rate` HTTP requests a second."""
    path = f"/services/default/{SERVICE}/v2/models/{SERVICE}/infer"
    load = Load(running.port, path, _body(), {"authorization": f"Bearer {token}"}, rate=rate)
    place = f"127.0.0.1:{running.port}"
    return Target(load, lambda: grpc.aio.insecure_channel(place), SERVICE, token, SERVICE)


def at_the_gateway(
    door: tuple[str, int], token: str, *, rate: float, host: str = f"{SERVICE}.service.localhost"
) -> Target:
    """A service by its hosts at a gateway in front: calls have one of their own."""
    address, port = door
    model = RIVALS[0] if host == HOST else SERVICE
    path, shown = f"/v2/models/{model}/infer", {"authorization": f"Bearer {token}"}
    load = Load(port, path, _body(), shown, rate=rate, host=host, address=address)
    options = (("grpc.default_authority", host.replace(".", "-grpc.", 1)),)
    return Target(load, lambda: grpc.aio.insecure_channel(f"{address}:{port}", options=options), model, token)


def at_the_host(client: Client, token: str, *, rate: float) -> Target:
    """The host that the rivals want, over TLS, whichever certificate it shows."""
    trust = f"{client.certificate.authority()}\n{_OWN.chain}"
    port = int(client.system().https_url.rpartition(":")[2])
    path, headers = f"/v2/models/{RIVALS[0]}/infer", {"authorization": f"Bearer {token}"}
    context = ssl.create_default_context(cadata=trust)
    load = Load(port, path, _body(), headers, rate=rate, host=HOST, tls=context)
    credentials = grpc.ssl_channel_credentials(trust.encode())
    options = (("grpc.ssl_target_name_override", HOST), ("grpc.default_authority", HOST))

    def connect() -> grpc.aio.Channel:
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)

    return Target(load, connect, RIVALS[0], token)


def _row() -> list[float]:
    row: list[float] = load_iris(return_X_y=True)[0][0].tolist()
    return row


def _body() -> bytes:
    tensor = {"name": "input", "datatype": "FP64", "shape": [1, 4], "data": _row()}
    return json.dumps({"inputs": [tensor]}).encode()


@contextlib.asynccontextmanager
async def asked(target: Target, *, callers: int) -> AsyncIterator[Asked]:
    """The target's HTTP load and so many gRPC clients, until the block ends."""
    calls, stop = Calls(), asyncio.Event()
    tasks = [asyncio.create_task(_call(target, calls, stop)) for _ in range(callers)]
    try:
        async with target.load.again().running() as outcome:
            yield Asked(outcome, calls)
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _call(target: Target, calls: Calls, stop: asyncio.Event) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="input", datatype="FP64", shape=[1, 4])
    tensor.contents.fp64_contents.extend(_row())
    request = pb.ModelInferRequest(model_name=target.model, inputs=[tensor])
    named = [("x-modelyard-service", target.service)] if target.service else []
    metadata = (("authorization", f"Bearer {target.token}"), *named)
    began = time.monotonic()
    async with target.connect() as channel:
        infer = channel.unary_unary(
            METHOD,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        while not stop.is_set():
            try:
                await infer(request, metadata=metadata, timeout=30)
                calls.answers["OK"] += 1
            except grpc.aio.AioRpcError as error:
                calls.answers[error.code().name] += 1
                said = f"{error.code().name}: {error.details()}"
                calls.failures.append((round(time.monotonic() - began, 3), said))
            await asyncio.sleep(0.02)


Change = Callable[[Client, int], None]


def updated(client: Client, number: int) -> None:
    """The other version takes over, one replica at a time."""
    public = client.deployments.get(SERVICE).spec.public
    client.deploy(f"{SERVICE}@{2 - number % 2}", name=SERVICE, replicas=2, public=public)


def scaled(client: Client, number: int) -> None:
    """Between one replica and three."""
    client.deployments.scale(SERVICE, 1 + number % 3)
    client.deployments.wait(SERVICE)


def promoted(client: Client, number: int) -> None:
    """The other version is tried in its own stage, and then goes to production."""
    public = client.deployments.get(SERVICE).spec.public
    client.deploy(f"{SERVICE}@{2 - number % 2}", name=f"{SERVICE}@test", public=public)
    client.promote(f"{SERVICE}@test", clear=number % 2 == 0)


def reconfigured(client: Client, number: int) -> None:
    """Another service comes, is opened to all, and goes: the gateway's table is new each time."""
    name = f"passer-{number}"
    view = client.deployments.create_offline(f"{SERVICE}@1", name=name)
    client.deployments.apply(name, replace(view.spec, public=True))
    client.deployments.delete(name)


def taken_over(client: Client, number: int) -> None:
    """The rival that is offline takes the host back, and the other one goes offline."""
    winner, loser = RIVALS[number % 2], RIVALS[1 - number % 2]
    client.deployments.restart(winner)
    client.deployments.wait(winner)
    _until_offline(client, loser)


def _until_offline(client: Client, loser: str) -> None:
    """Until it has lost the host: one that is started anew before that claims nothing."""
    deadline = time.monotonic() + 60
    while client.deployments.get(loser).state != "Offline":
        assert time.monotonic() < deadline, f"{loser} keeps the host"
        time.sleep(0.05)


def swapped(client: Client, number: int) -> None:
    """Another certificate: one of one's own, and the self-made one again."""
    if number % 2:
        client.certificate.reset()
        return
    mine = authority.issue(_OWN, ["127.0.0.1", HOST], now=time.time())
    client.certificate.set(mine.chain, mine.key)


AT_A_HOST: dict[str, Change] = {"host takeover": taken_over, "certificate swap": swapped}
"""What happens to services that want one host, under load there."""

CHANGES: dict[str, Change] = {
    "rolling update": updated,
    "scale event": scaled,
    "promotion": promoted,
    "gateway reconfiguration": reconfigured,
}


async def happen(running: Running, change: Change, times: int) -> None:
    """Let the change happen so often, one after the other."""

    def all_of_them() -> None:
        with running.client() as client:
            for number in range(times):
                change(client, number)
                time.sleep(_PAUSE_SECONDS)

    await asyncio.to_thread(all_of_them)
