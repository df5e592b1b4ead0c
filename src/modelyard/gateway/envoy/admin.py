"""Asking a running Envoy over its admin socket."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import httpx2

from modelyard.domain.errors import Unavailable

_SUFFIXES = {
    "listeners": "listener_manager.lds",
    "clusters": "cluster_manager.cds",
    "routes": "http.front.rds.front",
    "ports": "http.front.rds.ports",
    "second": "http.front.rds.second",
    "certificate": "sds.certificate",
    "beside": "sds.beside",
}
_SECONDS = 5.0


class Admin:
    """The admin interface at one Unix socket; every question raises Unavailable while nobody answers."""

    def __init__(self, socket: Path) -> None:
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(socket), verify=False),
            base_url="http://envoy",
            timeout=_SECONDS,
            trust_env=False,
        )

    async def ready(self) -> bool:
        """Whether Envoy is up and has read its listeners, clusters and routes."""
        response = await self._send("GET", "/listeners?format=json")
        listening = bool(response.json().get("listener_statuses"))
        return listening and (await self._send("GET", "/ready")).status_code == 200

    async def versions(self) -> dict[str, str]:
        """Document (`listeners`, `clusters`, `routes`, …) to the version that Envoy works by, if to any."""
        stats = await self.stats("version_text$")
        return {
            name: next((str(v) for k, v in stats.items() if k.endswith(f"{stat}.version_text")), "")
            for name, stat in _SUFFIXES.items()
        }

    async def warming(self) -> int:
        """How many listeners wait for something before they accept connections."""
        stats = await self.stats("total_listeners_warming$")
        return sum(int(value) for value in stats.values())

    async def rejections(self) -> int:
        """How many documents Envoy refused since its start."""
        stats = await self.stats("update_rejected$")
        return sum(int(value) for value in stats.values())

    async def stats(self, pattern: str) -> dict[str, int | str]:
        """Counters, gauges and texts whose name matches `pattern`."""
        return _values(await self._stats(pattern, {}))

    async def numbers(self, pattern: str) -> tuple[dict[str, int | str], dict[str, dict[int, int]]]:
        """As `stats`, and histogram name to the least value of a bin to how many it holds since the start."""
        found = await self._stats(pattern, {"histogram_buckets": "detailed"})
        details = [each for stat in found if "histograms" in stat for each in stat["histograms"]["details"]]
        return _values(found), {each["name"]: _bins(each["totals"]) for each in details}

    async def hosts(self) -> dict[str, str]:
        """Replica to the cluster it is in, for each that Envoy may still choose."""
        statuses = (await self._send("GET", "/clusters?format=json")).json().get("cluster_statuses", [])
        return {
            host["hostname"]: cluster["name"]
            for cluster in statuses
            for host in cluster.get("host_statuses", [])
            if host.get("hostname")
        }

    async def active(self) -> dict[str, int]:
        """Replica to the requests that it has and has not answered."""
        statuses = (await self._send("GET", "/clusters?format=json")).json().get("cluster_statuses", [])
        found: Counter[str] = Counter()
        for host in (host for cluster in statuses for host in cluster.get("host_statuses", [])):
            numbers = {stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]}
            found[host.get("hostname", "")] += numbers.get("rq_active", 0)
        del found[""]
        return dict(found)

    async def post(self, path: str) -> None:
        """Tell Envoy to do something, such as `/healthcheck/fail`."""
        await self._send("POST", path)

    async def close(self) -> None:
        """Give the connection back."""
        await self._client.aclose()

    async def _stats(self, pattern: str, more: dict[str, str]) -> list[dict[str, Any]]:
        query = {"format": "json", "usedonly": "", "filter": pattern, **more}
        found: list[dict[str, Any]] = (await self._send("GET", "/stats", query)).json()["stats"]
        return found

    async def _send(self, method: str, path: str, query: dict[str, str] | None = None) -> httpx2.Response:
        try:
            return await self._client.request(method, path, params=query)
        except (httpx2.HTTPError, OSError) as error:
            raise Unavailable("the gateway does not answer on its admin socket") from error


def _values(stats: list[dict[str, Any]]) -> dict[str, int | str]:
    return {stat["name"]: stat["value"] for stat in stats if "name" in stat}


def _bins(totals: list[dict[str, Any]]) -> dict[int, int]:
    bins: Counter[int] = Counter()
    for each in totals:
        bins[round(each["lower_bound"])] += each["count"]
    return dict(bins)
