"""A service that sleeps while nobody asks it, and loses no request when somebody does."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx2

from modelyard.domain.views import State
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running

ECHO = """
def predict(inputs):
    return inputs
"""
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}],
    "outputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}],
}
BODY = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [4.0]}]}
INFER = "/services/default/echo/v2/models/echo/infer"


def test_a_service_sleeps_and_all_who_ask_meanwhile_are_answered(platform: Running, tmp_path: Path) -> None:
    code = tmp_path / "model.py"
    code.write_text(ECHO)
    with platform.client() as client:
        client.publish(str(code), "echo", signature=SIGNATURE)
        command(
            platform, "deploy", "echo@1", "--name", "echo", "--public", "--min", "0", "--max", "2",
            "--autoscale", "concurrency:100", "--idle", "2s",
        )  # fmt: skip

        def asleep() -> bool:
            view = client.deployments.get("echo")
            return view.state is State.ASLEEP and not view.status.replicas

        until(asleep, "asleep", seconds=30)
        assert client.deployments.explain("echo").healthy
        codes, live = asyncio.run(_ask(platform, 30))
        assert codes == [200] * 30
        assert live
        view = client.deployments.get("echo")
        assert (view.spec.replicas, view.wanted_replicas, view.revision) == (1, 1, 1)
        until(asleep, "asleep", seconds=30)
        told = [event.message for event in client.deployments.events("echo") if event.reason == "Autoscaled"]
        assert sum("no request for 2 s" in message for message in told) >= 2
        # The control plane dies while somebody waits: whoever takes over wakes the service.
        platform.kill()
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(httpx2.post, f"{platform.url}{INFER}", json=BODY, timeout=60)
            platform.start()
            assert waiting.result().json()["outputs"][0]["data"] == [4.0]


async def _ask(platform: Running, count: int) -> tuple[list[int], bool]:
    """Statuses of so many requests at once, and what a gRPC call is told beside them."""
    async with (
        httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{platform.port}") as channel,
    ):
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        called = call(b"", metadata=(("x-modelyard-service", "echo"),), timeout=60)
        answers = await asyncio.gather(*(client.post(INFER, json=BODY) for _ in range(count)))
        return [answer.status_code for answer in answers], await called == b"\x08\x01"
