"""What kube-proxy does: ports of every node, and addresses of services, lead to pods that are ready.

Nodes, services and pods have addresses of this machine's loopback network, so that all of it is real sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from tests.support.cluster.verbs import Cluster

Place = tuple[str, int]
_PERIOD_SECONDS = 0.05
_BYTES = 65_536
_LOOPBACK = "127.0.0.1"
"""Whoever is on a node finds its ports there, too."""


class Proxy:
    """Listens for a cluster; a connection goes to one of the pods that are ready at that moment."""

    def __init__(self, cluster: Cluster, network: str = "127.") -> None:
        """`network` is what addresses of this machine begin with that nodes and services have."""
        self._cluster, self._network = cluster, network
        self._servers: dict[Place, asyncio.Server] = {}
        self._leads: dict[Place, list[Place]] = {}
        self._turn = itertools.count()
        self.troubles: dict[Place, str] = {}
        """What cannot be listened at."""

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        try:
            while True:
                await self._follow()
                await asyncio.sleep(_PERIOD_SECONDS)
        finally:
            for server in self._servers.values():
                server.close()

    async def _follow(self) -> None:
        self._leads = dict(self._wanted())
        for place in self._servers.keys() - self._leads.keys():
            self._servers.pop(place).close()
        for place in self._leads.keys() - self._servers.keys():
            try:
                self._servers[place] = await asyncio.start_server(self._serve_at(place), *place)
                self.troubles.pop(place, None)
            except OSError as error:
                self.troubles[place] = str(error)

    def _wanted(self) -> Iterator[tuple[Place, list[Place]]]:
        """Where to listen, and whom that leads to."""
        store, kind = self._cluster.store, self._cluster.kind
        nodes = [
            address["address"]
            for node in store.list(kind("Node"))
            for address in (node.get("status") or {}).get("addresses") or ()
            if address["address"].startswith(self._network)
        ]
        slices = {
            (each["metadata"]["namespace"], each["metadata"]["labels"]["kubernetes.io/service-name"]): each
            for each in store.list(kind("EndpointSlice"))
        }
        for service in store.list(kind("Service")):
            found = slices.get((service["metadata"]["namespace"], service["metadata"]["name"]))
            for port in service["spec"].get("ports") or ():
                behind = list(_behind(found, port.get("name", "")))
                if str(service["spec"].get("clusterIP")).startswith(self._network):
                    yield (service["spec"]["clusterIP"], port["port"]), behind
                for node in (*nodes, _LOOPBACK) if port.get("nodePort") else ():
                    yield (node, port["nodePort"]), behind

    def _serve_at(self, place: Place) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            behind = self._leads.get(place) or []
            try:
                if behind:
                    await _join(reader, writer, behind[next(self._turn) % len(behind)])
            except OSError:
                pass
            finally:
                writer.close()

        return serve


def _behind(found: Any, name: str) -> Iterator[Place]:
    ports = [each["port"] for each in (found or {}).get("ports") or () if each.get("name", "") == name]
    for endpoint in (found or {}).get("endpoints") or ():
        if endpoint["conditions"]["ready"]:
            yield from ((address, port) for address in endpoint["addresses"] for port in ports)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: Place) -> None:
    there_reader, there_writer = await asyncio.open_connection(*to)
    try:
        await asyncio.gather(_carry(reader, there_writer), _carry(there_reader, writer))
    finally:
        there_writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_BYTES):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
