"""An API server whose answers are ready: `python -m bench.cluster_server` prints where it listens."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson

OBJECTS = 1000
EVENTS = 10_000
_PAGE = 500


def deployment(number: int, version: int) -> dict[str, Any]:
    """A deployment as the API tells it, with who owns which field."""
    labels = {"app.kubernetes.io/managed-by": "modelyard", "modelyard.dev/deployment": f"demo-{number}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(f"demo-{number}-r1", version, labels),
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"spec": _pod_spec()}},
        "status": {"replicas": 1, "readyReplicas": 1, "conditions": [_condition("Available")] * 2},
    }


def pod(number: int) -> dict[str, Any]:
    """A pod as the API tells it."""
    container = {"name": "server", "ready": True, "restartCount": 0, "image": "x:1", "imageID": "x" * 80}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(
            f"demo-{number}-r1-abcde", number + 1, {"modelyard.dev/replica": f"demo-{number}"}
        ),
        "spec": _pod_spec(),
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [_condition(name) for name in ("Ready", "Initialized", "PodScheduled")],
            "containerStatuses": [container],
        },
    }


def _metadata(name: str, version: int, labels: dict[str, str]) -> dict[str, Any]:
    fields = {f"f:{key}": {"f:inner": {}, "f:other": {}} for key in "abcdefghijklmnop"}
    owned = {"manager": "modelyard", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields}
    uid = f"00000000-0000-4000-8000-{version:012d}"
    metadata = {"name": name, "namespace": "modelyard-demo", "uid": uid, "resourceVersion": str(version)}
    return {**metadata, "labels": labels, "managedFields": [owned, owned]}


def _pod_spec() -> dict[str, Any]:
    env = [{"name": f"VARIABLE_{n}", "value": "a value of some length"} for n in range(8)]
    probe = {"httpGet": {"path": "/v2/health/ready", "port": 8080}, "periodSeconds": 5, "failureThreshold": 3}
    probes = {f"{name}Probe": probe for name in ("startup", "readiness", "liveness")}
    return {"containers": [{"name": "server", "image": "modelyard/serving:1", "env": env, **probes}]}


def _condition(name: str) -> dict[str, str]:
    return {
        "type": name,
        "status": "True",
        "lastTransitionTime": "2026-11-27T16:00:00Z",
        "message": "as it should be",
    }


def _page(first: int, following: str) -> bytes:
    items = [deployment(n, n + 1) for n in range(first, first + _PAGE)]
    metadata = {"resourceVersion": str(OBJECTS), "continue": following}
    return orjson.dumps({"kind": "DeploymentList", "metadata": metadata, "items": items})


def _event(kind: str, value: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": value}) + b"\n"


async def main() -> None:
    """Serve until terminated."""
    first, second = _page(0, "next"), _page(_PAGE, "")
    ended = {"annotations": {"k8s.io/initial-events-end": "true"}, "resourceVersion": str(OBJECTS)}
    initial = b"".join(_event("ADDED", deployment(n, n + 1)) for n in range(OBJECTS))
    initial += _event("BOOKMARK", {"metadata": ended})
    later = b"".join(_event("MODIFIED", deployment(n % OBJECTS, OBJECTS + n + 1)) for n in range(EVENTS))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            if b"watch=1" in head:
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + initial + later)
                with contextlib.suppress(ConnectionError):  # who knows everything hangs up
                    await writer.drain()
                    await reader.read()
                break
            body = b'{"major":"1","minor":"37"}'
            if b"limit=" in head:
                body = second if b"continue=" in head else first
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
