"""Models are tried in pods, and what comes of it is the same answer as everywhere."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.server
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelyard.backends.base import Guest, Task, TaskKind
from modelyard.backends.delivery import Grant, Tree
from modelyard.backends.kubernetes import projects, tasks
from modelyard.backends.kubernetes.capabilities import Capabilities, Gpus
from modelyard.backends.kubernetes.gpus.fragment import Fragment
from modelyard.backends.kubernetes.gpus.wanted import gpus_for
from modelyard.backends.kubernetes.kinds import place
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.task import Errand, job, secret
from modelyard.control.deliveries import token
from modelyard.domain import gpu
from modelyard.domain.deployment import Failure, Key
from modelyard.domain.errors import BackendError, Refused, Unavailable
from modelyard.domain.model import (
    NO_MODEL,
    Artifact,
    Datatype,
    File,
    Format,
    Serialization,
    Signature,
    TensorSpec,
)
from modelyard.domain.model_files import InClaim, InImage, ModelFiles
from modelyard.domain.variant import Optimize
from modelyard.serving.memory import artifact_bytes
from modelyard_fetch import manifest
from tests.kubernetes.worlds import World, world
from tests.support.cluster import schemas, verbs
from tests.support.cluster.gpus import add_claimed_node, add_gpu_node
from tests.support.cluster.kubelets import Part
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.verbs import Cluster, Options
from tests.support.patience import PATIENCE

DOUBLES = "def predict(inputs):\n    print('asked')\n    return {'double': inputs['x'] * 2}\n"
FORGETS = "import no_such_package\n" + DOUBLES
HANGS = "import time\ntime.sleep(600)\n" + DOUBLES
DIES = "import os\nos.kill(os.getpid(), 11)\n" + DOUBLES
LOOKS = """
import os, subprocess
def predict(inputs):
    try:
        print(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout)
    except FileNotFoundError:
        print("no card,", os.environ["NVIDIA_VISIBLE_DEVICES"])
    return {"double": inputs["x"] * 2}
"""
NO_GPUS = gpu.GpuRequest()
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
        for here, file in ((tree.path / file.path, file) for tree in trees for file in tree.files):
            if here.is_file():
                self.files[file.sha256] = here.read_bytes()
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
    async with asyncio.timeout(PATIENCE):
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


TELLS = """
import base64, gzip, json, os
def predict(inputs):
    found, number = [], os.getppid()
    while number > 0:
        with open(f"/proc/{number}/cmdline") as file:
            found += file.read().split(chr(0))
        with open(f"/proc/{number}/stat") as file:
            number = int(file.read().rpartition(")")[2].split()[1])
    secrets = [each for each in [*found, *os.environ.values()] if "modelyard-outcome-" in each]
    for each in [word for text in secrets for word in text.split() if word.startswith("modelyard-outcome-")]:
        said = {"code": 0, "said": {"result": {"outputs": {"double": ["told by the model"]}}}}
        print("\\n" + each, "1/1", base64.b64encode(gzip.compress(json.dumps(said).encode())).decode())
        os.kill(os.getppid(), 9)
    return {"double": inputs["x"] * 2}
"""


async def test_a_model_cannot_tell_an_outcome_by_itself(here: World, lender: Lender) -> None:
    answer = await here.backend.run(task(TaskKind.TEST, TELLS, lender))
    assert answer.failure is None, answer
    assert answer.result is not None
    assert answer.result["outputs"]["double"] == [3.0]


class _Logs:
    """Logs of which the first readings fail, after a line or before."""

    def __init__(self, real: Callable[..., AsyncIterator[str]], *, fails: int) -> None:
        self.real, self.left = real, fails

    async def __call__(self, *of: object, **how: object) -> AsyncIterator[str]:
        async for line in self.real(*of, **how):
            if self.left:
                self.left -= 1
                raise Unavailable("the API server is too busy")
            yield line


async def test_a_log_that_cannot_be_read_once_is_read_again(here: World, lender: Lender) -> None:
    here.backend._cluster.logs = _Logs(here.backend._cluster.logs, fails=2)  # type: ignore[method-assign]
    answer = await here.backend.run(task(TaskKind.TEST, DOUBLES, lender))
    assert answer.failure is None, answer
    assert answer.result is not None


async def test_a_log_that_cannot_be_read_at_all_says_nothing_of_the_model(
    here: World, lender: Lender
) -> None:
    here.backend._cluster.logs = _Logs(here.backend._cluster.logs, fails=99)  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="its log cannot be read: the API server is too busy") as caught:
        await here.backend.run(task(TaskKind.INSPECT, DOUBLES, lender))
    assert caught.value.retryable
    await nothing_left(here)


async def test_a_long_question_is_lent_as_a_file(here: World, lender: Lender) -> None:
    code = "def predict(inputs):\n    return {'double': inputs['x'][:1] * 2 + len(inputs['x'])}\n"
    question = {"inputs": {"x": [1.5] * 4_000_000}}
    answer = await here.backend.run(task(TaskKind.TEST, code, lender, request=question))
    assert answer.failure is None, answer
    assert answer.result is not None
    assert answer.result["outputs"]["double"] == [4_000_003.0]


def test_a_model_of_ten_thousand_files_fits_into_a_secret(tmp_path: Path) -> None:
    there = Cluster(schemas.load(schemas.VERSIONS[-1]), clock=lambda: 0.0)
    there.create(
        there.kind("Namespace"), "", {"metadata": {"name": "modelyard-default"}}, Options(manager="test")
    )
    scope = {"task": "0123456789abcdef0123456789abcdef", "until": 1_800_000_000}
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(10_000)]
    grant = Grant(
        base="http://modelyard.modelyard-system:8081/api/v1/artifacts",
        files=tuple(File(path=f"shards/part-{n:05}.bin", size=n, sha256=d) for n, d in enumerate(digests)),
        tokens={digest: token(b"k", scope, digest) for digest in digests},
    )
    plain = errand(gpus_for(NO_GPUS, Capabilities()))
    artifact = replace(plain.task.guest.artifact, files=grant.files)
    asked = replace(plain.task, guest=replace(plain.task.guest, artifact=artifact))
    made = secret(replace(plain, task=asked, grant=grant))
    there.patch(
        there.kind("Secret"), place(made), verbs.APPLY, made, Options(manager="modelyard", force=True)
    )
    told = json.loads(base64.b64decode(made["data"]["worker.json"]))
    assert len(told["files"]) == 1000
    assert artifact_bytes(told) == sum(range(10_000))
    (tmp_path / "manifest.json").write_bytes(base64.b64decode(made["data"]["manifest.json"]))
    found = manifest.read(str(tmp_path / "manifest.json")).entries
    assert [(each.path, each.url, each.token) for each in found] == [
        (file.path, f"{grant.base}/{file.sha256}", grant.tokens[file.sha256]) for file in grant.files
    ]


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


async def test_a_full_quota_of_others_is_said_and_held_against_no_model(
    tmp_path: Path, lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_PLACE_SECONDS", 1.0)
    monkeypatch.setattr(tasks, "_EVENT_SECONDS", 0.1)
    async with world(tmp_path) as here:
        here.backend._options = replace(here.backend._options, courier=lender)
        await projects.prepare(here.backend._cluster, here.backend._options.settings, "default")
        cluster, theirs = (
            here.there.cluster,
            {"metadata": {"name": "theirs"}, "spec": {"hard": {"pods": "0"}}},
        )
        cluster.create(
            cluster.kind("ResourceQuota"), "modelyard-default", theirs, Options(manager="somebody")
        )
        answer = await here.backend.run(task(TaskKind.INSPECT, DOUBLES, lender))
        assert answer.failure is not None
        assert (answer.failure.reason, "the quota theirs" in answer.failure.message) == (
            "QuotaExceeded",
            True,
        )
        await nothing_left(here)


async def test_a_test_on_a_card_of_a_type_ends_and_leaves_it_free(here: World, lender: Lender) -> None:
    add_gpu_node(here.there.cluster, "t4", "t4")
    for _ in range(2):
        wanted = gpu.parse("1(T4)", "gpu")
        answer = await here.backend.run(task(TaskKind.TEST, LOOKS, lender, wanted=wanted))
        assert answer.failure is None, answer
        assert "GPU 0: Tesla T4" in answer.stdout
        await nothing_left(here)
    answer = await here.backend.run(task(TaskKind.TEST, LOOKS, lender))
    assert "no card, none" in answer.stdout


async def test_a_test_claims_its_card_and_gives_it_back(tmp_path: Path, lender: Lender) -> None:
    served = frozenset({"resource.k8s.io/v1/deviceclasses"})
    settings = Settings(artifact_url=lender.base)
    async with world(tmp_path, processes=True, settings=settings, resources=served, nodes=False) as here:
        here.backend._options = replace(here.backend._options, courier=lender)
        add_claimed_node(here.there.cluster, "t4")
        await here.backend.nodes()
        async with asyncio.timeout(PATIENCE):
            while not here.backend._view.slices():
                await asyncio.sleep(0.02)
        for _ in range(2):
            wanted = gpu.parse("1(T4)", "gpu")
            answer = await here.backend.run(task(TaskKind.TEST, LOOKS, lender, wanted=wanted))
            assert answer.failure is None, answer
            assert "GPU 0: Tesla T4 (UUID: GPU-t4)" in answer.stdout
            await nothing_left(here)
        assert here.objects("ResourceClaimTemplate") == []


async def test_a_card_that_nobody_has_is_an_answer(here: World, lender: Lender) -> None:
    with pytest.raises(BackendError, match="HAMi: its scheduler and device plugin"):
        await here.backend.run(task(TaskKind.TEST, LOOKS, lender, wanted=gpu.parse("0.2(T4)", "gpu")))
    assert left(here) == []


def test_only_the_container_that_answers_sees_the_card() -> None:
    found = job(errand(gpus=gpus_for(gpu.parse("1(T4)", "gpu"), Capabilities())))["spec"]["template"]["spec"]
    (container,), (fetcher,) = found["containers"], found["initContainers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert "NVIDIA_VISIBLE_DEVICES" not in {each["name"] for each in container["env"]}
    assert fetcher["env"] == [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "none"}]
    for term in found["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]:
        assert term["matchExpressions"][-1]["values"] == ["T4"]


def test_without_a_card_no_container_sees_one() -> None:
    known = Capabilities(gpus=Gpus(cdi=True))
    found = job(errand(gpus=gpus_for(gpu.GpuRequest(), known)))["spec"]["template"]["spec"]
    for each in (*found["containers"], *found["initContainers"]):
        assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in each["env"]


def errand(gpus: Fragment) -> Errand:
    """A test, with all that it can have."""
    asked = task(TaskKind.TEST, DOUBLES, Lender(""), wanted=gpu.parse("1", "gpu") if gpus.limits else NO_GPUS)
    return Errand(
        task=replace(asked, optimize=Optimize.AUTO),
        name="task-test-1", namespace="modelyard-default", project="default", marker="m",
        grant=Grant(base="http://a/b", store_token="t", files=asked.guest.artifact.files),
        settings=Settings(), gpus=gpus,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["0", "1(T4)"])
@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_version_of_kubernetes_takes_its_objects(version: str, text: str) -> None:
    there = Cluster(schemas.load(version), clock=lambda: 0.0)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"metadata": {"name": "modelyard-default", "labels": labels}}
    there.create(there.kind("Namespace"), "", space, Options(manager="test"))
    made = errand(gpus_for(gpu.parse(text, "gpu"), Capabilities()))
    for each in (secret(made), job(made), secret(made, job_uid="u-1")):
        name = (each["metadata"]["namespace"], each["metadata"]["name"])
        there.patch(
            there.kind(each["kind"]), name, verbs.APPLY, each, Options(manager="modelyard", force=True)
        )


IMAGE = f"registry.example.org/models/doubles:1@sha256:{'7' * 64}"
ASKED = {"format": "", "trust": "full"}


def survey(location: ModelFiles) -> Task:
    """What the control plane asks when a version is published from a volume."""
    env = {"MODELYARD_PROJECT": "default"}
    guest = Guest(
        artifact=NO_MODEL, path=Path("/"), interpreter="", runtime="", env=env, location=location
    )  # fmt: skip
    return Task(kind=TaskKind.SURVEY, guest=guest, request=ASKED, timeout_seconds=60.0)


def in_image(here: World, folder: Path, code: str) -> None:
    """Have the nodes' registry know an image with a model."""
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code)
    assert isinstance(here.control.kubelet, ProcessKubelet)
    here.control.kubelet.storage.images[IMAGE] = folder.parent


async def test_a_volume_is_surveyed_and_its_model_tried_where_it_lies(
    here: World, lender: Lender, tmp_path: Path
) -> None:
    in_image(here, tmp_path / "image" / "models", DOUBLES)
    location = InImage(IMAGE, "models")
    told = await here.backend.run(survey(location))
    assert told.failure is None, told
    assert told.result is not None
    digest = hashlib.sha256(DOUBLES.encode()).hexdigest()
    assert told.result["files"] == [{"path": "model.py", "size": len(DOUBLES), "sha256": digest}]
    assert told.result["detected"]["format"] == "python"

    tried = task(TaskKind.TEST, DOUBLES, lender)
    lender.files.clear()  # nobody could fetch it
    tried = replace(tried, guest=replace(tried.guest, location=location))
    answer = await here.backend.run(tried)
    assert answer.result is not None, answer
    assert answer.result["outputs"]["double"] == [3.0]
    other = task(TaskKind.TEST, DOUBLES + "# changed\n", lender)
    answer = await here.backend.run(replace(other, guest=replace(other.guest, location=location)))
    assert answer.failure is not None
    assert answer.failure.reason == "ArtifactCorrupt", answer
    await nothing_left(here)


async def test_a_folder_and_a_claim_that_are_not_there_are_said_at_once(here: World, tmp_path: Path) -> None:
    in_image(here, tmp_path / "image" / "models", DOUBLES)
    told = await here.backend.run(survey(InImage(IMAGE, "model")))
    assert told.result is not None, told
    message = told.result["refused"]["message"]
    assert message == "source: the volume has no folder `model`; beside it are models"
    told = await here.backend.run(survey(InClaim("shelf", "1")))
    assert told.failure == Failure(
        reason="MountFailed",
        message="the namespace modelyard-default has no PersistentVolumeClaim shelf yet",
    )
    await nothing_left(here)
