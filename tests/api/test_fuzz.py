"""Bodies that nobody thought of: whatever comes, a client's mistake is never a fault of the server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.api.accounts import NewToken, NewUser
from modelyard.api.models import TestRequest
from modelyard.backends.memory import ManualClock
from modelyard.domain.deployment import DeploymentSpec, Resources
from modelyard.domain.model import PublishSpec, Signature
from modelyard.domain.project import ProjectSpec
from modelyard.domain.runtime import RuntimeSpec
from tests.api.requests import DEPLOYMENTS, MODELS, publish, require_problem
from tests.api.test_routes import BODIES, Stated, call, routes
from tests.support.faces import Faces, opened

_texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["", "churn", "churn@1", "churn@latest", "1", "default", "admin", "host", "auto", "latest", "-1", "1e9Gi"]
)
_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts
)
_values = st.recursive(_scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(_texts, v, max_size=3))
_SPECS = (
    DeploymentSpec,
    Resources,
    RuntimeSpec,
    PublishSpec,
    Signature,
    ProjectSpec,
    NewToken,
    NewUser,
    TestRequest,
)
_names = st.sampled_from(sorted({field.name for spec in _SPECS for field in dataclasses.fields(spec)}))
_bodies = st.dictionaries(_names, _values, max_size=5) | _values


class Fuzzed:
    """An installation in a loop of its own, asked from outside."""

    def __init__(self, runner: asyncio.Runner, faces: Faces, client: httpx2.AsyncClient) -> None:
        self.runner, self.faces, self.client = runner, faces, client

    def ask(self, route: Stated, body: Any) -> httpx2.Response:
        return self.runner.run(_ask(self.client, route, body))


async def _ask(client: httpx2.AsyncClient, route: Stated, body: Any) -> httpx2.Response:
    BODIES[route.name], before = body, BODIES.get(route.name)
    try:
        return await call(client, route)
    finally:
        BODIES[route.name] = before


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def begin() -> Fuzzed:
            faces = await stack.enter_async_context(opened(Path(directory) / "home", clock=ManualClock()))
            client = await stack.enter_async_context(faces.http(await faces.secret()))
            assert (await publish(client)).status_code == 201
            assert (await client.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})).status_code == 201
            return Fuzzed(runner, faces, client)

        yield runner.run(begin())
        runner.run(stack.aclose())


def _is_json(body: Any) -> bool:
    try:
        orjson.dumps(body)
    except TypeError:
        return False
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_body_makes_the_server_fail(fuzzed: Fuzzed, data: st.DataObject) -> None:
    takes = [r for r in routes(fuzzed.faces.app) if r.name in BODIES and r.name != "publish_version"]
    route = data.draw(st.sampled_from(sorted(takes, key=lambda r: r.path + r.method)))
    body = data.draw(_bodies.filter(_is_json))
    if isinstance(body, dict) and data.draw(st.booleans()):
        body = {**(BODIES[route.name] or {}), **body}
    response = fuzzed.ask(route, body)
    if response.status_code >= 400:
        require_problem(response, 400, 403, 404, 409, 422)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(spec=_bodies.filter(_is_json))
def test_no_publish_spec_makes_the_server_fail(fuzzed: Fuzzed, spec: Any) -> None:
    if isinstance(spec, dict):
        spec = {"name": "churn", **spec}
    files = [
        ("spec", (None, orjson.dumps(spec))),
        ("file", ("model.py", b"def predict(inputs):\n    pass\n")),
    ]
    response = fuzzed.runner.run(fuzzed.client.post(MODELS, files=files))
    if response.status_code >= 400:
        require_problem(response, 400, 409, 422)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=200))
def test_no_bytes_make_the_server_fail(fuzzed: Fuzzed, content: bytes) -> None:
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        response = fuzzed.runner.run(
            fuzzed.client.post(MODELS, content=content, headers={"content-type": kind})
        )
        require_problem(response, 400, 422)
