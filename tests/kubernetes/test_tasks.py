"""Models are tried in pods, and what comes of it is the same answer as everywhere."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelyard.backends.base import Guest, Task, TaskKind
from modelyard.backends.delivery import Grant, Tree
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.task import Errand, job, secret
from modelyard.domain.deployment import Key
from modelyard.domain.errors import Refused
from modelyard.domain.model import Artifact, Datatype, File, Format, Serialization, Signature, TensorSpec
from modelyard.domain.variant import Optimize
from tests.kubernetes.worlds import World, world
from tests.support.cluster import schemas, verbs
from tests.support.cluster.kubelets import Part
from tests.support.cluster.verbs import Cluster, Options

DOUBLES = "def predict(inputs):\n    print('asked')\n    return {'double': inputs['x'] * 2}\n"
FORGETS = "import no_such_package\n" + DOUBLES
HANGS = "import time\ntime.sleep(600)\n" + DOUBLES
DIES = "import os\nos.kill(os.getpid(), 11)\n" + DOUBLES
LONG = "import numpy as np\ndef predict(inputs):\n    return {'double': np.zeros(400_000) + 0.123456}\n"
SAMPLE = {"inputs": {"x": [1.5]}}


class _Store(http.server.BaseHTTPRequestHandler):
    """Gives files by their sha256, and keeps those that come with the right token."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        content = self.files.get(self.path.rpartition("/")[2])
        self.send_response(404 if content is None else 200)
        self.send_header("content-length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        right = self.headers["authorization"] == "Bearer store"
        if right:
            self.files[self.path.rpartition("/")[2]] = content
        self.send_response(201 if right else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Lender:
    """A courier over a dictionary."""

    base: str
    files: dict[str, bytes] = field(default_factory=dict)

    def for_revision(self, key: Key, revision: int, files: Sequence[File]) -> dict[str, str]:
        return {}

    async def for_task(self, trees: Sequence[Tree], *, seconds: float, takes_bytes: int = 0) -> Grant:
        lent = tuple(replace(f, path=f"{tree.prefix}{f.path}") for tree in trees for f in tree.files)
        return Grant(base=self.base, files=lent, store_token="store" if takes_bytes else "")

    async def collect(self, files: Sequence[File], into: Path) -> None:
        for file in files:
            if file.sha256 not in self.files:
                raise Refused(f"{file.path} is not there")
            (into / file.path).write_bytes(self.files[file.sha256])


@pytest.fixture
def lender() -> Iterator[Lender]:
    known: dict[str, bytes] = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Store", (_Store,), {"files": known}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Lender(f"http://127.0.0.1:{server.server_port}/files", known)
    server.shutdown()
    server.server_close()


@pytest.fixture
async def here(tmp_path: Path, lender: Lender) -> AsyncIterator[World]:
    async with world(tmp_path, processes=True, settings=Settings(artifact_url=lender.base)) as made:
        made.backend._options = replace(made.backend._options, courier=lender)
        yield made


def task(kind: str, code: str, lender: Lender, **changes: object) -> Task:
    digest = hashlib.sha256(code.encode()).hexdigest()
    lender.files[digest] = code.encode()
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1,)),),
        outputs=(TensorSpec(name="double", datatype=Datatype.FP64, shape=(-1,)),),
        sample={"x": [1.5]},
    )
    artifact = Artifact(
        name="model",
        format=Format.PYTHON,
        serialization=Serialization.PYTHON,
        entry="model.py",
        files=(File(path="model.py", size=len(code), sha256=digest),),
        signature=signature,
    )
    env = {"MODELYARD_PROJECT": "default"}
    guest = Guest(artifact=artifact, path=Path("/nowhere"), interpreter="/no/python", runtime="host", env=env)
    asked = {"request": SAMPLE} if kind == TaskKind.TEST else {}
    return Task(**{"kind": kind, "guest": guest, "timeout_seconds": 60.0, **asked, **changes})  # type: ignore[arg-type]


def left(here: World) -> list[str]:
    """Jobs, pods and secrets."""
    return [o["metadata"]["name"] for kind in ("Job", "Pod", "Secret") for o in here.objects(kind)]


async def nothing_left(here: World) -> None:
    async with asyncio.timeout(10):
        while left(here):
            await asyncio.sleep(0.05)


async def test_a_model_is_inspected_and_tested(here: World, lender: Lender) -> None:
    for kind in (TaskKind.INSPECT, TaskKind.TEST):
        answer = await here.backend.run(task(kind, DOUBLES, lender))
        assert answer.failure is None, answer
        assert answer.result is not None
        assert answer.duration_seconds > 0
    assert answer.result is not None
    assert answer.result["outputs"]["double"] == [3.0]
    assert "asked" in answer.stdout
    await nothing_left(here)


@pytest.mark.parametrize(
    ("code", "reason"), [(FORGETS, "MissingPackage"), (HANGS, "WorkerHung"), (DIES, "WorkerCrashed")]
)
async def test_what_goes_wrong_is_an_answer(here: World, lender: Lender, code: str, reason: str) -> None:
    seconds = 3.0 if reason == "WorkerHung" else 60.0
    answer = await here.backend.run(task(TaskKind.TEST, code, lender, timeout_seconds=seconds))
    assert answer.result is None
    assert answer.failure is not None
    assert answer.failure.reason == reason, answer
    await nothing_left(here)


async def test_a_long_answer_goes_through_the_store(here: World, lender: Lender) -> None:
    answer = await here.backend.run(task(TaskKind.TEST, LONG, lender))
    assert answer.failure is None, answer.failure
    assert answer.result is not None
    assert len(answer.result["outputs"]["double"]) == 400_000
    assert len(lender.files) == 2


async def test_a_file_that_is_not_what_was_published_is_no_answer(here: World, lender: Lender) -> None:
    asked = task(TaskKind.TEST, DOUBLES, lender)
    lender.files[asked.guest.artifact.files[0].sha256] = DOUBLES.replace("2", "3").encode()
    answer = await here.backend.run(asked)
    assert answer.failure is not None
    assert answer.failure.reason == "ArtifactCorrupt"


async def test_images_that_cannot_be_had_and_quotas_are_answers(tmp_path: Path, lender: Lender) -> None:
    async with world(tmp_path) as here:
        here.backend._options = replace(here.backend._options, courier=lender)
        here.control.script = lambda pod: Part(starts_after=0.0, fails="ImagePullBackOff", stops_after=0.05)
        answer = await here.backend.run(task(TaskKind.INSPECT, DOUBLES, lender))
        assert answer.failure is not None
        assert answer.failure.reason == "ImageError"
        await nothing_left(here)


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_version_of_kubernetes_takes_its_objects(version: str) -> None:
    there = Cluster(schemas.load(version), clock=lambda: 0.0)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"metadata": {"name": "modelyard-default", "labels": labels}}
    there.create(there.kind("Namespace"), "", space, Options(manager="test"))
    errand = Errand(
        task=replace(task(TaskKind.TEST, DOUBLES, Lender(""), gpus=(0,)), optimize=Optimize.AUTO),
        name="task-test-1", namespace="modelyard-default", project="default", marker="m",
        grant=Grant(base="http://a/b", store_token="t"), settings=Settings(),
    )  # fmt: skip
    for each in (secret(errand), job(errand), secret(errand, job_uid="u-1")):
        name = (each["metadata"]["namespace"], each["metadata"]["name"])
        there.patch(
            there.kind(each["kind"]), name, verbs.APPLY, each, Options(manager="modelyard", force=True)
        )
