"""The kubelet's probes: what is asked, and what the answers so far mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import grpc
import httpx2

from tests.support.cluster.processes.containers import Container
from tests.support.cluster.store import Object

_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
Turned = Callable[[bool, str], Awaitable[None]]
Complained = Callable[[str], None]


async def ask(probe: Object, container: Container, ip: str) -> tuple[bool, str]:
    """One question: whether the answer is good, and the kubelet's words when it is not."""
    timeout = float(probe.get("timeoutSeconds", 1))
    if "httpGet" in probe:
        return await _http(probe["httpGet"], ip, timeout)
    if "tcpSocket" in probe:
        return await _tcp(ip, int(probe["tcpSocket"]["port"]), timeout)
    if "grpc" in probe:
        return await _grpc(probe["grpc"], ip, timeout)
    return await _exec(probe["exec"]["command"], container, timeout)


async def _http(asked: Object, ip: str, timeout: float) -> tuple[bool, str]:
    url = f"http://{asked.get('host') or ip}:{asked['port']}{asked.get('path', '/')}"
    headers = {each["name"]: each["value"] for each in asked.get("httpHeaders", ())}
    try:
        async with httpx2.AsyncClient(timeout=timeout, trust_env=False) as client:
            status = (await client.get(url, headers=headers)).status_code
    except httpx2.HTTPError as error:
        return False, f'Get "{url}": {error}'
    return 200 <= status < 400, f"HTTP probe failed with statuscode: {status}"


async def _tcp(ip: str, port: int, timeout: float) -> tuple[bool, str]:
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(ip, port)
    except (OSError, TimeoutError) as error:
        return False, f"dial tcp {ip}:{port}: {error}"
    writer.close()
    return True, ""


async def _grpc(asked: Object, ip: str, timeout: float) -> tuple[bool, str]:
    """The health protocol of gRPC; its messages are short enough to be written by hand."""
    service, place = asked.get("service", "").encode(), f"{ip}:{asked['port']}"
    question = bytes((0x0A, len(service))) + service if service else b""
    async with grpc.aio.insecure_channel(place, options=(("grpc.enable_http_proxy", 0),)) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer: bytes = await check(question, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return False, _refused(error, place, timeout)
    status = _STATUSES[answer[1] if answer[:1] == b"\x08" else 0]
    return status == "SERVING", f'service unhealthy (responded with "{status}")'


def _refused(error: grpc.aio.AioRpcError, place: str, timeout: float) -> str:
    match error.code():
        case grpc.StatusCode.UNIMPLEMENTED:
            said = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        case grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.UNAVAILABLE:
            said = f'timeout: failed to connect service "{place}" within {timeout:g}s'
        case _:
            said = "error: health rpc probe failed"
    return f"{said}: {error.details()}"


async def _exec(command: list[str], container: Container, timeout: float) -> tuple[bool, str]:
    process = await container.joined(command)
    try:
        async with asyncio.timeout(timeout):
            said, wrong = await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return False, f"command timed out after {timeout:g}s"
    return process.returncode == 0, (said + wrong).decode(errors="replace").strip()


async def keep_asking(
    probe: Object, container: Container, ip: str, *, turned: Turned, complained: Complained
) -> None:
    """Ask until cancelled; tell of each bad answer, and when enough in a row say another than before."""
    await asyncio.sleep(float(probe.get("initialDelaySeconds", 0)))
    good_in_a_row = bad_in_a_row = 0
    told: bool | None = None
    while True:
        good, why = await ask(probe, container, ip)
        if not good:
            complained(why)
        good_in_a_row, bad_in_a_row = (good_in_a_row + 1, 0) if good else (0, bad_in_a_row + 1)
        if good_in_a_row >= int(probe.get("successThreshold", 1)) and told is not True:
            told = True
            await turned(True, "")
        elif bad_in_a_row >= int(probe.get("failureThreshold", 3)) and told is not False:
            told = False
            await turned(False, why)
        await asyncio.sleep(float(probe.get("periodSeconds", 10)))
