"""The kubelet's probes: what is asked, and what the answers so far mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import httpx2

from tests.support.cluster.processes.containers import Container
from tests.support.cluster.store import Object

Turned = Callable[[bool, str], Awaitable[None]]


async def ask(probe: Object, container: Container, ip: str) -> tuple[bool, str]:
    """One question: whether the answer is good, and the kubelet's words when it is not."""
    timeout = float(probe.get("timeoutSeconds", 1))
    if "httpGet" in probe:
        return await _http(probe["httpGet"], ip, timeout)
    if "tcpSocket" in probe:
        return await _tcp(ip, int(probe["tcpSocket"]["port"]), timeout)
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


async def keep_asking(probe: Object, container: Container, ip: str, turned: Turned) -> None:
    """Ask until cancelled; tell whenever enough answers in a row say another thing than before."""
    await asyncio.sleep(float(probe.get("initialDelaySeconds", 0)))
    good_in_a_row = bad_in_a_row = 0
    told: bool | None = None
    while True:
        good, why = await ask(probe, container, ip)
        good_in_a_row, bad_in_a_row = (good_in_a_row + 1, 0) if good else (0, bad_in_a_row + 1)
        if good_in_a_row >= int(probe.get("successThreshold", 1)) and told is not True:
            told = True
            await turned(True, "")
        elif bad_in_a_row >= int(probe.get("failureThreshold", 3)) and told is not False:
            told = False
            await turned(False, why)
        await asyncio.sleep(float(probe.get("periodSeconds", 10)))
