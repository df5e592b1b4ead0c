"""The front door's port is taken: at the start, and under a platform that runs."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from modelyard import Client
from modelyard.domain.explain import Finding
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running
from tests.support.ports import free_port


def test_a_start_on_a_port_that_is_taken_says_by_whom_and_ends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        platform = Running(tmp_path / "home", port=port)
        said = command(platform, "up", "--port", str(port), code=None, seconds=60)
        assert said.code == 1
        assert "GatewayPortInUse" in said.err
        assert f"port {port} of 127.0.0.1 is in use" in said.err
        assert f"process {os.getpid()}" in said.err
        assert "--port" in said.err
        assert platform.processes() == []


def test_a_second_platform_on_one_data_directory_is_refused_and_the_first_goes_on(platform: Running) -> None:
    said = command(platform, "up", "--port", str(free_port()), code=7, seconds=60)
    assert f"already runs on {platform.home}" in said.err
    assert "--data-dir" in said.err
    with platform.client() as client:
        assert client.system().version


def test_a_port_that_is_taken_while_the_gateway_is_away_is_named_and_taken_back_once_it_is_free(
    platform: Running, tmp_path: Path
) -> None:
    code = tmp_path / "model.py"
    code.write_text("def predict(inputs):\n    return {'y': inputs['x'] * 2}\n")
    with platform.client() as client:
        client.publish(str(code), "double", sample={"x": [1.0]})
        service = client.deploy("double@1", name="double")
        with taken_from_under(platform), platform.client() as inside:
            until(lambda: "GatewayPortInUse" in findings(inside, "double"), "the port is named")
            until(lambda: inside.deployments.get("double").state == "Degraded", "its state tells")
            finding = findings(inside, "double")["GatewayPortInUse"]
            assert f"port {platform.port} of 127.0.0.1 is in use by process {os.getpid()}" in finding.message
            assert "End the other program" in finding.remedy
        until(lambda: answers(platform), "the door is open again")
        assert service.predict([{"x": 2.0}]) == [{"y": 4.0}]
        until(lambda: client.deployments.get("double").state == "Running", "nothing is wrong any more")
        assert client.deployments.explain("double").healthy
        client.undeploy("double")


@contextlib.contextmanager
def taken_from_under(platform: Running) -> Iterator[None]:
    """End Envoy, and be on its port before it is started again."""
    envoy = next(p for p in platform.processes() if "envoy" in p.name())
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        envoy.kill()
        deadline = time.monotonic() + 5
        while True:
            with contextlib.suppress(OSError):
                thief.bind(("127.0.0.1", platform.port))
                break
            assert time.monotonic() < deadline
        thief.listen()
        yield


def findings(client: Client, name: str) -> dict[str, Finding]:
    return {each.reason: each for each in client.deployments.explain(name).findings}


def answers(platform: Running) -> bool:
    try:
        with urllib.request.urlopen(f"{platform.url}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
