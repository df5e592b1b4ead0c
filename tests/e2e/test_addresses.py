"""Two services fight for a host under load, over HTTP and HTTPS; and every address is told and answers."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Client
from modelyard.client.waiting import is_settled
from modelyard.domain.address import Address
from modelyard.domain.deployment import DeploymentSpec
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.load import Load
from tests.support.platform import Running
from tests.support.ports import free_port

HOST = "churn.example.com"
RATE = 60


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    https, second, base = free_port(), free_port(), free_port()
    doors = f"[server]\nhttps_port = {https}\n[gateway]\nsecond_port = {second}\n"
    settings = f"{doors}port_base = {base}\nport_count = 40\n"
    running = Running(tmp_path_factory.mktemp("addresses") / "home", settings=settings).start()
    with running.client() as client:
        for factor in (2, 3):
            model = _code(running.home.parent / "model.py", factor)
            client.publish(model, "churn", sample={"x": [1.0]})
    yield running
    running.stop()


def _code(path: Path, factor: int) -> str:
    path.write_text(f"def predict(inputs):\n    return {{'y': inputs['x'] * {factor}}}\n")
    return str(path)


def _spec(version: int, **more: Any) -> DeploymentSpec:
    return DeploymentSpec(model=f"churn@{version}", address=Address(host=HOST, own_port=True), **more)


async def test_no_request_is_lost_while_a_host_goes_from_one_service_to_another_and_certificates_change(
    platform: Running,
) -> None:
    with platform.client() as client:
        client.deployments.apply("old", _spec(1))
        client.deployments.wait("old")
        token = client.deployments.token("old")
        https = int(client.system().https_url.rpartition(":")[2])
        trust = ssl.create_default_context(cadata=client.certificate.authority())
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [5.0]}
    body = json.dumps({"inputs": [tensor]}).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    path = "/v2/models/old/infer"
    plain = Load(platform.port, path, body, headers, rate=RATE, connections=4, host=HOST)
    secure = Load(https, path, body, headers, rate=RATE, connections=4, host=HOST, tls=trust)
    async with plain.running() as outcome, secure.running() as over_tls:
        await asyncio.to_thread(_fight, platform)
    for each in (outcome, over_tls):
        print(f"{each.total} requests, p50 {each.quantile(0.5):.4f} s, p99 {each.quantile(0.99):.4f} s")
        assert each.failed == 0, f"{each.failed} of {each.total}: {each.failures[:20]}"
        assert each.total > RATE


def _fight(platform: Running) -> None:
    with platform.client() as client:
        client.deployments.apply("new", _spec(2))
        _has(client, "new", loser="old")
        for winner, loser in (("old", "new"), ("new", "old")):
            client.deployments.restart(winner)
            _has(client, winner, loser=loser)
        broken = DeploymentSpec(
            model="churn@1",
            address=Address(host=HOST),
            env={"PYTHONHOME": "/nowhere"},
            start_timeout_seconds=5,
        )
        client.deployments.apply("broken", broken)
        until(lambda: client.deployments.get("broken").state == "Failed", "it fails", seconds=60)
        assert client.deployments.get("new").state == "Running"
        client.undeploy("broken")


def _has(client: Client, winner: str, *, loser: str) -> None:
    """Wait until the winner answers at the host and the loser is offline."""
    until(lambda: is_settled(client.deployments.get(winner)), f"{winner} runs", seconds=60)
    until(lambda: client.deployments.get(loser).state == "Offline", f"{loser} is offline", seconds=60)
    assert "has taken its host over" in client.deployments.get(loser).message
    assert "TakenOffline" in {event.reason for event in client.deployments.events(loser)}


def test_every_address_is_told_and_answers(platform: Running, tmp_path: Path) -> None:
    with platform.client() as client:
        service = client.deploy(
            "churn@2", name="told", host="https://told.example.com/docs", own_port=True, second_port=True
        )
        view, token, host = service.view, service.token, "told.example.com"
        found = view.addresses
        assert (found.host, found.link) == (host, f"https://{host}/docs")
        assert found.hosts_line == f"127.0.0.1 {host}"
        assert len(found.ports) == len(found.port_urls) == 2
        until(lambda: host in client.certificate.show().hosts, "the certificate names it")
        front = client.system().https_url
        ca = tmp_path / "ca.pem"
        ca.write_text(command(platform, "config", "ca").out)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    second = f"http://127.0.0.1:{found.second_url.rpartition(':')[2]}/services/default/told"
    for url in (view.url, *found.port_urls, second):
        request = urllib.request.Request(f"{url}/predict", b'[{"x": 5.0}]', headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.loads(answer.read()) == [{"y": 15.0}]
    shown = command(platform, "endpoint", "show", "told").out
    for address in (host, found.port_urls[0], found.https_url, found.hosts_line):
        assert address in shown
    assert "self-made" in command(platform, "certificate", "show").out
    environ = {
        "MODELYARD_HOME": str(tmp_path),
        "MODELYARD_TOKEN": (platform.home / "admin-token").read_text().strip(),
    }
    with Client(front, environ={**environ, "MODELYARD_CA": str(ca)}) as trusting:
        assert trusting.system().https_url == front
    with (
        Client(front, environ=environ) as stranger,
        pytest.raises(modelyard.ModelyardError, match="CERTIFICATE"),
    ):
        stranger.system()


def test_a_certificate_of_ones_own_is_served_at_once_and_a_wrong_one_is_refused(
    platform: Running, tmp_path: Path
) -> None:
    from modelyard.gateway import authority
    from tests.gateway.test_tls import AUTHORITY, NOW

    mine = authority.issue(AUTHORITY, ["127.0.0.1", HOST], now=NOW)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(mine.chain)
    key.write_text(mine.key)
    said = command(platform, "certificate", "set", str(chain), str(chain), code=2)
    assert "key: is no private key" in said.err
    assert "uploaded" in command(platform, "certificate", "set", str(chain), str(key)).out
    with platform.client() as client:
        https = int(client.system().https_url.rpartition(":")[2])
        shown = ssl.get_server_certificate(("127.0.0.1", https))
        assert shown.strip() == mine.chain.strip()
        assert client.certificate.reset().source == "self-made"
