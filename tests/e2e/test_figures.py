"""Figures of a service are those of what was sent, by HTTP and gRPC, over a restart of the control plane."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelyard import Client
from modelyard.domain.figures import Metrics
from modelyard.oip.grpc import inference_pb2 as pb
from tests.serving.calls import Calls
from tests.support.platform import Running

ODD = """
import time

def predict(inputs):
    if (inputs["x"] < 0).any():
        raise ValueError("negative")
    time.sleep(0.02)
    return {"y": inputs["x"] * 2}
"""


def test_every_request_is_counted_once_and_as_what_it_was(platform: Running, tmp_path: Path) -> None:
    by: Counter[str] = Counter()
    (tmp_path / "model.py").write_text(ODD)
    with platform.client() as client:
        client.publish(tmp_path / "model.py", "odd", sample={"x": [[1.0, 2.0]]})
        service = client.deploy("odd@1", name="odd")
        token = str(service.token)
        assert _post(platform, token, by, [[1.0, 2.0]]) == [200] * 9
        failed = set(_post(platform, token, by, [[-1.0, 2.0]], times=4))
        assert _post(platform, "wrong", by, [[1.0, 2.0]], times=2) == [401] * 2
        assert _call(platform, token, [1.0, 2.0], times=5) == [grpc.StatusCode.OK] * 5
        (refused,) = set(_call(platform, token, [-1.0, 2.0], times=3))
        client.deployments.scale("odd", 0)
        client.deployments.wait("odd")
        assert _post(platform, token, by, [[1.0, 2.0]], times=2) == [503] * 2
        client.deploy("odd@1", name="odd", env={"AGAIN": "1"})
        assert _post(platform, token, by, [[1.0, 2.0]], times=6) == [200] * 6
        _until(client, 9 + 4 + 2 + 5 + 3 + 2 + 6)
        explanation = client.deployments.explain("odd")
        assert "NoReplicaReached" in {finding.reason for finding in explanation.findings}
        platform.kill()
        platform.start()
        assert _post(platform, token, by, [[1.0, 2.0]], times=3) == [200] * 3
        found = _until(client, 34)
        _check(found, failed, refused, by)
    _check_exposition(httpx2.get(f"{platform.url}/metrics", trust_env=False).text, by)


def _check(found: Metrics, failed: set[int], refused: grpc.StatusCode, by: Counter[str]) -> None:
    (failure,) = failed
    codes = dict(found.total.codes)
    assert (codes.pop("401"), codes.pop("503")) == (2, 2)
    assert codes.pop("200") == 9 + 5 + 6 + 3
    assert sum(codes.values()) == 4 + 3
    assert codes[str(failure)] >= 4
    assert found.total.calls == {"0": 5, str(refused.value[0]): 3}
    by_revision = {each.revision: each.figures for each in found.revisions}
    # Answers over HTTP say which revision they are of; all calls were before the second one.
    assert {n: each.requests for n, each in by_revision.items()} == {0: 4, 1: by["1"] + 8, 2: by["2"]}
    second = by_revision[2]
    assert second.min_seconds is not None
    assert second.mean_seconds is not None
    assert second.max_seconds is not None
    assert 0.02 <= second.mean_seconds <= second.max_seconds
    assert (
        second.min_seconds <= (second.median_seconds or 0) <= (second.p99_seconds or 0) <= second.max_seconds
    )
    assert found.total.first_access is not None
    assert found.total.first_access < (found.total.last_access or found.since)
    assert sum(point.figures.requests for point in found.points) == 34
    assert sum(replica.requests for replica in found.replicas) <= 30
    assert found.usage.memory_bytes > 10 << 20


def _check_exposition(text: str, by: Counter[str]) -> None:
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (up,) = [s for s in families["up"].samples if s.labels["service"] == "odd"]
    assert (up.value, up.labels["revision"]) == (1, "2")
    counted = families["modelyard_gateway_requests"].samples
    assert sum(s.value for s in counted if s.labels["service"] == "odd") == 34
    served = families["modelyard_requests"].samples
    assert sum(s.value for s in served if s.labels["replica"] == up.labels["replica"]) == by["2"]
    for name in ("modelyard_replicas", "modelyard_reconcile_duration_seconds", "modelyard_worker_up"):
        assert families[name].samples, name


def _post(
    platform: Running, token: str, by: Counter[str], rows: list[list[float]], *, times: int = 9
) -> list[int]:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 2], "data": rows}
    with httpx2.Client(base_url=platform.url, trust_env=False, timeout=30) as client:
        head = {"authorization": f"Bearer {token}"}
        body = {"inputs": [tensor]}
        answers = [client.post("/v2/models/odd/infer", json=body, headers=head) for _ in range(times)]
    by.update(answer.headers.get("x-modelyard-revision", "") for answer in answers)
    return [answer.status_code for answer in answers]


def _call(platform: Running, token: str, row: list[float], *, times: int) -> list[grpc.StatusCode]:
    calls = Calls(f"127.0.0.1:{platform.port}", use_local_subchannel_pool=1, enable_retries=0)
    message = pb.ModelInferRequest(model_name="odd")
    message.inputs.add(name="x", datatype="FP64", shape=[1, 2]).contents.fp64_contents.extend(row)
    about = [("x-modelyard-service", "odd"), ("authorization", f"Bearer {token}")]
    ended = [_ended(lambda: calls.infer(message, metadata=about)) for _ in range(times)]
    calls.channel.close()
    return ended


def _ended(call: Callable[[], Any]) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()  # type: ignore[no-any-return]
    return grpc.StatusCode.OK


def _until(client: Client, requests: int) -> Metrics:
    """The figures, as soon as so many requests are among them; never are there more."""
    deadline = time.monotonic() + 60
    while True:
        found = client.metrics("odd")
        timed = sum(
            figures.figures.mean_seconds is not None for figures in found.revisions if figures.revision
        )
        assert found.total.requests <= requests
        if found.total.requests == requests and timed == len([r for r in found.revisions if r.revision]):
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"{found.total.requests} of {requests} requests were counted")
        time.sleep(0.2)
