"""Models published from a bucket: read by the platform where that is allowed, and checked like uploads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from modelyard.artifacts.sources import BucketSources
from modelyard.domain.storage import StoreOptions
from tests.api.requests import MODELS, SIGNATURE, SOURCE, multipart, require_problem
from tests.support import buckets
from tests.support.buckets import KEYS, BucketServer
from tests.support.faces import Faces


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with buckets.serving(tmp_path_factory.mktemp("s3")) as running:
        for name in ("models/out/churn/model.py", "models/out/flat.py", "models/outside/model.py"):
            place = running.data / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(SOURCE)
        (running.data / "models/out/churn/data").mkdir()
        (running.data / "models/out/churn/data/weights.bin").write_bytes(b"w" * 100_000)
        yield running


@pytest.fixture
async def client(faces: Faces, admin: httpx2.AsyncClient, server: BucketServer) -> httpx2.AsyncClient:
    """The administrator's, where `s3://models/out` may be read."""
    options = StoreOptions(endpoint=server.url, sources="s3://models/out s3://gone")
    faces.app.state.platform = replace(faces.platform, sources=BucketSources(options, KEYS))
    return admin


async def send(
    client: httpx2.AsyncClient, source: str, files: dict[str, bytes] | None = None, **more: Any
) -> httpx2.Response:
    spec = {"name": "churn", "signature": SIGNATURE, "source": source, **more}
    return await client.post(MODELS, files=multipart(spec, files or {}))


async def test_a_model_is_published_from_a_bucket(client: httpx2.AsyncClient) -> None:
    answer = await send(client, "s3://models/out/churn")
    assert answer.status_code == 201, answer.text
    version = answer.json()
    assert version["source"] == "s3://models/out/churn"
    files = {each["path"]: each["size"] for each in version["artifacts"][0]["files"]}
    assert files == {"model.py": len(SOURCE), "data/weights.bin": 100_000}
    whole = await client.get(f"{MODELS}/churn/versions/1/artifacts/model/files/data/weights.bin")
    assert whole.content == b"w" * 100_000
    assert json.dumps(version).count("s3://") == 1


async def test_one_object_is_a_model_too(client: httpx2.AsyncClient) -> None:
    answer = await send(client, "s3://models/out/flat.py", format="python")
    assert answer.status_code in (201, 422), answer.text
    if answer.status_code == 201:
        assert [each["path"] for each in answer.json()["artifacts"][0]["files"]] == ["flat.py"]


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        ("s3://models/outside", 403, "may not be read; an administrator can add it"),
        ("s3://models", 403, "may not be read"),
        ("s3://other/out", 403, "may not be read"),
        ("s3://models/out/../outside", 403, "may not be read"),
        ("s3://models/out/none", 404, "nothing is at"),
        ("s3://gone/x", 503, "no bucket `gone`"),
        ("https://example.org/model.onnx", 422, "must be s3://BUCKET"),
        ("/etc", 422, "must be s3://BUCKET"),
        ("s3://models/out?x", 422, "must be s3://BUCKET"),
    ],
)
async def test_a_source_that_cannot_be_read_is_told(
    client: httpx2.AsyncClient, source: str, status: int, words: str
) -> None:
    problem = require_problem(await send(client, source), status)
    assert words in problem["detail"]
    assert (await client.get(f"{MODELS}/churn")).status_code == 404


async def test_files_beside_a_source_are_refused(client: httpx2.AsyncClient) -> None:
    problem = require_problem(await send(client, "s3://models/out/churn", {"model.py": SOURCE}), 422)
    assert "beside `source`" in problem["detail"]


async def test_without_allowed_sources_nothing_is_read(admin: httpx2.AsyncClient) -> None:
    problem = require_problem(await send(admin, "s3://models/out/churn"), 403)
    assert "artifacts.sources" in problem["detail"]
