"""Requests that many tests make, and what every refusal must look like."""

from __future__ import annotations

import json
from typing import Any

import httpx2

MODELS = "/api/v1/projects/default/models"
DEPLOYMENTS = "/api/v1/projects/default/deployments"
SOURCE = b"class Model:\n    def predict(self, inputs):\n        return inputs\n"
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}],
    "sample": {"x": [[1.0, 2.0]]},
}
Files = dict[str, bytes]


async def publish(
    client: httpx2.AsyncClient,
    name: str = "churn",
    *,
    files: Files | None = None,
    path: str = MODELS,
    **spec: Any,
) -> httpx2.Response:
    """Publish files, a small Python model when none are given."""
    body = {"name": name, "signature": SIGNATURE, **spec} if files is None else {"name": name, **spec}
    return await client.post(path, files=multipart(body, files or {"model.py": SOURCE}))


def multipart(spec: Any, files: Files) -> list[tuple[str, Any]]:
    """The parts of a publish request."""
    return [
        ("spec", (None, json.dumps(spec).encode(), "application/json")),
        *(("file", (path, content, "application/octet-stream")) for path, content in files.items()),
    ]


def require_problem(response: httpx2.Response, *statuses: int, path: str = "") -> dict[str, Any]:
    """A refusal as RFC 9457 asks, that a person can act on and that gives nothing away."""
    assert response.status_code in statuses, f"{response.status_code}: {response.text[:1000]}"
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "code", "detail", "errors"} <= set(body)
    assert body["status"] == response.status_code
    assert body["detail"], body
    for secret in ("Traceback", 'File "', "/home/", "/tmp/", "site-packages", "myu_", "mys_", "myw_"):
        assert secret not in response.text, response.text
    if path:
        assert path in [each["path"] for each in body["errors"]], body
        assert all(each["message"] for each in body["errors"])
    return body
