"""Envoy outlives the control plane, and comes back when it dies itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import httpx2
import pytest

from modelyard.gateway import process
from modelyard.gateway.base import Door
from modelyard.gateway.envoy import files
from modelyard.gateway.envoy import process as envoys
from modelyard.gateway.envoy.gateway import EnvoyGateway
from modelyard.gateway.envoy.lifecycle import Tuning
from tests.gateway.conftest import Place, StartUpstream
from tests.gateway.support import route
from tests.support.ports import free_port

_URL = "/services/default/churn/"


def pid_of(place: Place) -> int:
    record = files.read(place.directory / "process.json")
    assert record is not None
    return int(record["pid"])


def open_to_others(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode) & 0o077


async def test_a_killed_envoy_comes_back_with_all_its_routes(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    await gateway.publish([route("default/churn", await upstream("r1"))])
    first = pid_of(place)
    os.kill(first, signal.SIGKILL)
    while process.alive(process.Running(first, process._started(first) or 0)):
        await asyncio.sleep(0.005)
    begun = asyncio.get_running_loop().time()
    assert await gateway.ensure() is None
    assert asyncio.get_running_loop().time() - begun < 2.0
    assert pid_of(place) != first
    async with place.client() as fresh:
        assert (await fresh.get(_URL)).json()["replica"] == "r1"
    assert await gateway.routed() == {"r1"}


def test_an_envoy_that_dies_while_it_is_looked_at_stays_no_zombie(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["sleep", "60"])
    running = process.Running(child.pid, process._started(child.pid) or 0)
    read = process._started

    def dies_now(pid: int) -> int | None:
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return read(pid)

    monkeypatch.setattr(process, "_started", dies_now)
    assert not process.alive(running)
    assert not Path(f"/proc/{child.pid}").exists()
    child.wait()


async def test_a_restarted_control_plane_adopts_the_running_envoy(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    await gateway.publish([route("default/churn", await upstream("r1"))])
    pid = pid_of(place)
    await gateway.close(stop=False)
    assert (await client.get(_URL)).status_code == 200
    second = place.gateway()
    assert await second.ensure() is None
    assert pid_of(place) == pid
    assert await second.routed() == {"r1"}
    await second.publish([route("default/churn", await upstream("r2"))])
    assert (await client.get(_URL)).json()["replica"] == "r2"
    await second.close(stop=True)


async def test_an_envoy_that_was_never_recorded_is_found_and_not_doubled(
    place: Place, gateway: EnvoyGateway
) -> None:
    pid = pid_of(place)
    (place.directory / "process.json").unlink()
    second = place.gateway()
    assert await second.ensure() is None
    found = envoys.find(second._layout)
    assert found is not None
    assert found.pid == pid
    await second.close(stop=False)


async def test_a_record_of_a_pid_that_now_is_somebody_else_ends_nobody(place: Place) -> None:
    gateway = place.gateway()
    place.directory.mkdir()
    other = await asyncio.create_subprocess_exec("sleep", "30")
    files.replace(place.directory / "process.json", {"pid": other.pid, "started": 1})
    await gateway.close(stop=True)
    assert other.returncode is None
    other.kill()
    await other.wait()


async def test_a_port_in_use_is_named_with_the_process_that_has_it(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.port))
        taken.listen()
        gateway = place.gateway()
        failure = await gateway.ensure()
    assert failure is not None
    assert failure.reason == "GatewayPortInUse"
    assert str(place.port) in failure.message
    assert str(os.getpid()) in failure.message
    assert await gateway.ensure() is None
    await gateway.close(stop=True)


async def test_two_gateways_never_share_a_port_unseen(place: Place, gateway: EnvoyGateway) -> None:
    other = Place(place.directory / "other", place.sockets, place.port).gateway()
    failure = await other.ensure()
    assert failure is not None
    assert failure.reason == "GatewayPortInUse"
    assert str(pid_of(place)) in failure.message
    await other.close(stop=True)


async def test_the_front_door_of_a_running_envoy_moves_without_a_restart(
    place: Place, gateway: EnvoyGateway, upstream: StartUpstream
) -> None:
    await gateway.publish([route("default/churn", await upstream("r1"))])
    moved = Place(place.directory, place.sockets, free_port())
    pid = pid_of(place)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", moved.port))
        taken.listen()
        failure = await moved.gateway().ensure()
    assert failure is not None
    assert failure.reason == "GatewayPortInUse"
    assert await moved.gateway().ensure() is None
    assert pid_of(place) == pid
    async with moved.client() as client:
        assert (await client.get(_URL)).json()["replica"] == "r1"


async def test_a_program_that_is_not_envoy_is_reported_with_what_it_said(place: Place) -> None:
    gateway = EnvoyGateway(
        directory=place.directory,
        socket_directory=place.sockets,
        door=Door(port=place.port),
        api=place.sockets / "api.sock",
        domain="localhost",
        tuning=Tuning(binary="/bin/false"),
    )
    failure = await gateway.ensure()
    assert failure is not None
    assert failure.reason == "GatewayUnavailable"
    await gateway.close(stop=True)


async def test_configuration_and_admin_socket_are_open_to_their_owner_only(
    place: Place, gateway: EnvoyGateway
) -> None:
    await gateway.publish([route("default/churn", public=False)])
    (admin,) = place.sockets.glob("envoy-*.sock")
    paths = [place.directory, place.sockets, admin, *place.directory.iterdir()]
    assert len(paths) > 6
    assert not [path for path in paths if open_to_others(path)]


async def test_ending_lets_requests_in_flight_finish_and_takes_no_new_ones(
    place: Place, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    gateway = place.gateway(drain_seconds=10)
    assert await gateway.ensure() is None
    replica = await upstream("r1")
    replica.gate = asyncio.Event()
    await gateway.publish([route("default/churn", replica)])
    waiting = asyncio.create_task(client.get(_URL))
    while not replica.busy:
        await asyncio.sleep(0.005)
    pid = pid_of(place)
    ending = asyncio.create_task(gateway.close(stop=True))
    async with place.client() as late:
        while True:
            try:
                await late.get("/v2/health/live", headers={"connection": "close"})
            except httpx2.ConnectError:
                break
    assert not ending.done()
    replica.gate.set()
    assert (await waiting).status_code == 200
    await ending
    assert process._started(pid) is None
    assert not list(place.sockets.glob("envoy-*.sock"))


async def test_routes_published_before_the_start_are_served_from_the_start(
    place: Place, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    gateway = place.gateway()
    await gateway.publish([route("default/churn", await upstream("r1"))])
    assert await gateway.routed() == {"r1"}
    assert await gateway.ensure() is None
    assert (await client.get(_URL)).json()["replica"] == "r1"
    await gateway.close(stop=True)


async def test_a_disk_that_refuses_is_a_failure_with_its_reason(place: Place) -> None:
    place.directory.write_text("a file where a directory should be")
    gateway = place.gateway()
    failure = await gateway.ensure()
    assert failure is not None
    assert failure.reason == "GatewayUnavailable"
    assert "cannot be written" in failure.message
    await gateway.close(stop=True)


@pytest.mark.parametrize("broken", ["", "{", "[]"])
async def test_a_broken_file_of_the_gateway_is_written_anew(place: Place, broken: str) -> None:
    place.directory.mkdir()
    for name in ("clusters.json", "routes.json", "process.json", "bootstrap.json", "listeners.json"):
        (place.directory / name).write_text(broken)
    gateway = place.gateway()
    assert await gateway.ensure() is None
    await gateway.close(stop=True)
