"""gRPC through a platform's front door: the how-to as it stands there, and calls over rolling updates."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from bench.peers import environments
from modelyard.oip.grpc import inference_pb2 as pb
from tests.serving.calls import Calls
from tests.support.platform import Running

HOW_TO = Path(__file__).parents[2] / "docs/how-to/grpc.md"
CALLERS = 4


@pytest.fixture(scope="module")
def token(platform: Running) -> Iterator[str]:
    x, y = load_iris(return_X_y=True)
    with platform.client() as client:
        for strength in (0.1, 1.0):
            client.publish(LogisticRegression(C=strength, max_iter=1000).fit(x, y), "iris", x_test=x)
        service = client.deploy("iris@1", name="iris", replicas=1)
        assert service.token is not None
        yield service.token
        client.undeploy("iris")


def test_the_how_to_works_as_it_stands_there(platform: Running, token: str) -> None:
    try:
        python = environments.interpreter("clients")
    except RuntimeError as error:
        pytest.skip(f"the clients' environment cannot be made here: {error}")
    (source,) = re.findall(r"^```python\n(.*?)^```", HOW_TO.read_text(), re.M | re.S)
    done = subprocess.run(
        [str(python), "-c", source.replace("127.0.0.1:8080", f"127.0.0.1:{platform.port}")],
        env={**os.environ, "TOKEN": token, "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\w+ \[0\]\n", done.stdout), done.stdout


async def test_no_call_is_lost_over_rolling_updates(platform: Running, token: str) -> None:
    stop = threading.Event()
    calling = [
        asyncio.create_task(asyncio.to_thread(_call_on, platform.port, token, stop)) for _ in range(CALLERS)
    ]
    try:
        for update in (2, 1):
            await asyncio.to_thread(_deploy, platform, f"iris@{update}")
    finally:
        stop.set()
    outcomes = await asyncio.gather(*calling)
    assert [error for _, errors in outcomes for error in errors] == []
    assert sum(count for count, _ in outcomes) > 100


def _deploy(platform: Running, ref: str) -> None:
    with platform.client() as client:
        client.deploy(ref, name="iris", replicas=1)


def _call_on(port: int, token: str, stop: threading.Event) -> tuple[int, list[str]]:
    calls = Calls(f"127.0.0.1:{port}", use_local_subchannel_pool=1, enable_retries=0)
    message = pb.ModelInferRequest(model_name="iris")
    tensor = message.inputs.add(name="input", datatype="FP64", shape=[1, 4])
    tensor.contents.fp64_contents.extend([5.1, 3.5, 1.4, 0.2])
    about = [("x-modelyard-service", "iris"), ("authorization", f"Bearer {token}")]
    count, errors = 0, []
    while not stop.wait(0.01):
        try:
            answer: Any = calls.infer(message, metadata=about)
            assert answer.raw_output_contents
        except grpc.RpcError as error:
            errors.append(f"{error.code()} {error.details()}")
        count += 1
    calls.channel.close()
    return count, errors
