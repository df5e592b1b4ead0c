"""Files for pods: what opens them, ranges, and what tasks bring back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from modelyard.api.measure import Measure
from modelyard.artifacts import LocalArtifacts
from modelyard.backends.delivery import Tree
from modelyard.control import deliveries
from modelyard.control.deliveries import Couriers
from modelyard.domain.deployment import Key
from modelyard.domain.model import File
from tests.api.requests import DEPLOYMENTS, publish, require_problem
from tests.support.faces import Faces

URL = "/api/v1/artifacts"
KEY = Key("default", "churn")


def couriers(faces: Faces) -> Couriers:
    platform = faces.platform
    return Couriers(
        artifacts=platform.artifacts,
        master_key=platform.master_key,
        clock=platform.clock,
        new_id=platform.new_id,
        base=f"{platform.public_url}{URL}",
    )


@pytest.fixture
async def file(admin: httpx2.AsyncClient) -> File:
    version = (await publish(admin)).json()
    assert (await admin.put(f"{DEPLOYMENTS}/churn", json={"model": "churn@1"})).status_code == 201
    found = version["artifacts"][0]["files"][0]
    return File(path=found["path"], size=found["size"], sha256=found["sha256"])


@pytest.fixture
async def pod(faces: Faces, file: File) -> httpx2.AsyncClient:
    return faces.http(couriers(faces).for_revision(KEY, 1, [file])[file.sha256])


async def test_a_pod_gets_its_file_whole_and_in_ranges(pod: httpx2.AsyncClient, file: File) -> None:
    whole = await pod.get(f"{URL}/{file.sha256}")
    assert whole.status_code == 200
    assert hashlib.sha256(whole.content).hexdigest() == file.sha256
    assert whole.headers["etag"] == f'"{file.sha256}"'
    assert whole.headers["content-length"] == str(file.size)
    part = await pod.get(f"{URL}/{file.sha256}", headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole.content[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{file.size}"
    tail = await pod.get(
        f"{URL}/{file.sha256}", headers={"range": "bytes=-3", "if-range": f'"{file.sha256}"'}
    )
    assert tail.content == whole.content[-3:]
    changed = await pod.get(f"{URL}/{file.sha256}", headers={"range": "bytes=2-5", "if-range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    known = await pod.get(f"{URL}/{file.sha256}", headers={"if-none-match": f'"{file.sha256}"'})
    assert (known.status_code, known.content) == (304, b"")
    beyond = await pod.get(f"{URL}/{file.sha256}", headers={"range": f"bytes={file.size}-"})
    require_problem(beyond, 416)
    assert beyond.headers["content-range"] == f"bytes */{file.size}"


async def test_other_tokens_open_nothing(
    faces: Faces, admin: httpx2.AsyncClient, pod: httpx2.AsyncClient, file: File
) -> None:
    require_problem(await admin.get(f"{URL}/{file.sha256}"), 401)
    require_problem(await pod.get(f"{URL}/{'0' * 64}"), 401)
    async with faces.http() as nobody:
        require_problem(await nobody.get(f"{URL}/{file.sha256}"), 401)
        require_problem(await nobody.put(f"{URL}/{file.sha256}", content=b"x"), 401)
    require_problem(await pod.get(f"{URL}/NO-SHA"), 422)
    require_problem(await pod.put(f"{URL}/{file.sha256}", content=b"x"), 401)
    require_problem(await pod.get("/api/v1/projects/default/models"), 401)


async def test_a_revision_that_is_forgotten_opens_nothing(faces: Faces, file: File) -> None:
    tokens = couriers(faces).for_revision(KEY, 9, [file])
    async with faces.http(tokens[file.sha256]) as pod:
        require_problem(await pod.get(f"{URL}/{file.sha256}"), 404)


async def test_a_file_that_is_gone_is_told(faces: Faces, file: File, pod: httpx2.AsyncClient) -> None:
    await faces.platform.artifacts.sweep(frozenset(), time.time() + 86_400)
    problem = require_problem(await pod.get(f"{URL}/{file.sha256}"), 404)
    assert "publish the model again" in problem["detail"]


async def test_a_task_stores_what_it_made(faces: Faces, tmp_path: Path) -> None:
    made = b"compiled" * 1000
    file = File(path="model.onnx", size=len(made), sha256=hashlib.sha256(made).hexdigest())
    grant = await couriers(faces).for_task([], seconds=60, takes_bytes=10_000)
    async with faces.http(grant.store_token) as task:
        address = f"{URL}/{file.sha256}"
        answer = await task.put(address, content=made)
        assert (answer.status_code, answer.json()) == (201, {"sha256": file.sha256, "size": file.size})
        require_problem(await task.put(address, content=made), 413)
        require_problem(await task.put(f"{URL}/{'0' * 64}", content=b"wrong"), 422)
        require_problem(await task.get(address), 401)

        async def chunked() -> AsyncIterator[bytes]:
            yield made

        require_problem(await task.put(address, content=chunked()), 422)
    await couriers(faces).collect([file], tmp_path / "out")
    assert (tmp_path / "out/model.onnx").read_bytes() == made


async def test_what_was_carried_is_counted(
    faces: Faces, admin: httpx2.AsyncClient, pod: httpx2.AsyncClient, file: File
) -> None:
    await pod.get(f"{URL}/{file.sha256}", headers={"range": "bytes=0-9"})
    measure = Measure()
    for _ in range(2):
        text = (await measure._text(faces.platform)).decode()
        assert 'modelyard_artifact_bytes_total{direction="sent"} 10.0' in text
        assert 'modelyard_artifact_bytes_total{direction="stored"} 0.0' in text
    assert "modelyard_artifact_damaged_total 0.0" in text


async def test_pods_are_sent_elsewhere_when_the_store_says_so(
    faces: Faces, pod: httpx2.AsyncClient, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def address(_self: object, file: File) -> str:
        return f"https://s3.example.org/{file.sha256}?signed"

    monkeypatch.setattr(LocalArtifacts, "address", address)
    answer = await pod.get(f"{URL}/{file.sha256}", follow_redirects=False)
    assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
    assert answer.headers["location"] == f"https://s3.example.org/{file.sha256}?signed"


async def test_an_expired_task_stores_nothing(faces: Faces) -> None:
    scope = {"task": "a", "until": 1, "takes": 100}
    async with faces.http(deliveries.token(faces.platform.master_key, scope, "store")) as task:
        problem = require_problem(await task.put(f"{URL}/{'0' * 64}", content=b"x"), 401)
    assert "expired" in problem["detail"]


async def test_a_task_is_sent_nowhere_as_its_pod_reaches_the_platform_only(
    faces: Faces, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def address(_self: object, file: File) -> str:
        return f"https://s3.example.org/{file.sha256}?signed"

    grant = await couriers(faces).for_task([Tree(path=Path("/nowhere"), files=(file,))], seconds=60)
    monkeypatch.setattr(LocalArtifacts, "address", address)
    async with faces.http(grant.tokens[file.sha256]) as task:
        answer = await task.get(f"{URL}/{file.sha256}", follow_redirects=False)
        part = await task.get(f"{URL}/{file.sha256}", headers={"range": "bytes=2-5"}, follow_redirects=False)
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == file.sha256
    assert (part.status_code, part.content) == (206, answer.content[2:6])
