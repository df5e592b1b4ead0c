"""Other servers as pods: asked, started again in their pods, and judged in the words of the embedded mode."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from modelyard.backends.base import Launch
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.deployment import DeploymentSpec, Key, Phase, Replica, Stage
from modelyard.domain.health import Health, Probe
from modelyard.domain.model import Datatype, File, Serialization, Signature, TensorSpec
from modelyard.domain.program import Subject, program
from modelyard.domain.server import Server, ServerKind
from tests.kubernetes.worlds import World, world
from tests.support.patience import PATIENCE

WEB = Key("default", "web")
QUICK = {"period_seconds": 1.0, "failure_threshold": 2}
SITE = """
import http.server, os, pathlib, sys, time
class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        broken = pathlib.Path(self.path.strip("/") or "none").exists()
        self.send_response(500 if broken else 200)
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
print("site begins", flush=True)
http.server.ThreadingHTTPServer((os.environ["MODELYARD_HOST"], int(sys.argv[1])), Site).serve_forever()
"""
SERVE = 'rm -f dead; exec python -S "$MODELYARD_CONFIG_DIR"/site.py {{MODELYARD_PORT}}'


@pytest.fixture
async def here(tmp_path: Path, files: tuple[str, dict[str, bytes]]) -> AsyncIterator[World]:
    async with world(tmp_path, processes=True, settings=Settings(artifact_url=files[0])) as made:
        yield made


def spec(command: str | tuple[str, ...] = SERVE, **changes: object) -> DeploymentSpec:
    """A site in a file, unless another command is given."""
    server = Server(kind=ServerKind.SERVING, command=command, ports=(8080, 9090))
    probes = Health(readiness=Probe(http="/unready", **QUICK), liveness=Probe(http="/dead", **QUICK))
    given: dict[str, object] = {"server": server, "config": f"---site.py\n{SITE}", "health": probes}
    return DeploymentSpec(**{**given, **changes})  # type: ignore[arg-type]


def launch(here: World, wanted: DeploymentSpec, subject: Subject | None = None, key: Key = WEB) -> Launch:
    made = program(wanted, subject or Subject(name=key.name))
    found = here.launch("a", key=key, spec=wanted, program=made)
    return replace(found, guest=replace(found.guest, artifact=replace(found.guest.artifact, files=())))


async def until(here: World, holds: Callable[[Replica], bool], key: Key = WEB) -> Replica:
    """The replica once it is so."""
    seen: dict[str, Replica] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while not ("a" in seen and holds(seen["a"])):
                await asyncio.sleep(0.05)
                seen = await here.seen(key)
    except TimeoutError:
        raise AssertionError(f"never so; at last {seen}") from None
    return seen["a"]


async def run(here: World, *command: str, key: Key = WEB) -> int:
    shell = await here.backend.exec(key, "a", command)
    code = await shell.wait()
    await shell.close()
    return code


def failed_as(replica: Replica, reason: str) -> bool:
    return replica.failure is not None and replica.failure.reason == reason


async def test_readiness_cuts_traffic_and_liveness_starts_again_in_the_same_pod(here: World) -> None:
    await here.backend.start(launch(here, spec()))
    before = await until(here, lambda r: r.phase is Phase.READY)
    assert before.failure is None
    (pod,) = here.objects("Pod")
    await run(here, "touch", "unready")
    cut = await until(here, lambda r: r.phase is Phase.UNREADY and failed_as(r, "ReadinessFailed"))
    assert cut.failure is not None
    assert "/unready answered 500" in cut.failure.message
    assert cut.worker_restarts == 0
    await run(here, "rm", "unready")
    await until(here, lambda r: r.phase is Phase.READY)
    await run(here, "touch", "dead")
    again = await until(here, lambda r: r.worker_restarts == 1)
    assert again.phase is Phase.UNREADY
    assert failed_as(again, "LivenessFailed"), again
    again = await until(here, lambda r: r.phase is Phase.READY)
    assert again.failure is not None
    assert again.failure.reason == "LivenessFailed"
    assert again.failure.message == "the liveness probe failed: /dead answered 500"
    assert again.address == before.address
    assert [each["metadata"]["uid"] for each in here.objects("Pod")] == [pod["metadata"]["uid"]]


async def test_a_server_that_ends_is_started_again_in_its_pod_once_it_was_well(here: World) -> None:
    await here.backend.start(launch(here, spec()))
    before = await until(here, lambda r: r.phase is Phase.READY)
    for times in (1, 2):
        here.container(before.address).tell(signal.SIGKILL)
        again = await until(here, lambda r, times=times: r.worker_restarts == times)  # type: ignore[misc]
        assert again.phase is Phase.UNREADY
        assert failed_as(again, "ServerExited"), again
        again = await until(here, lambda r: r.phase is Phase.READY)
        assert failed_as(again, "ServerExited"), again
        assert again.address == before.address


@pytest.mark.parametrize(
    ("command", "reason", "words"),
    [
        ("no-such-program", "ProgramNotFound", "no-such-program: not found"),
        (("no-such-program", "x"), "ProgramNotFound", "no-such-program"),
        ("echo out of luck; exit 3", "ServerExited", "exit code 3; its last words: out of luck"),
        ("exec /etc/passwd", "PermissionDenied", "may not be run"),
    ],
)
async def test_a_server_that_never_answers_says_why(
    here: World, command: str | tuple[str, ...], reason: str, words: str
) -> None:
    await here.backend.start(launch(here, spec(command)))
    failed = await until(here, lambda r: r.phase is Phase.FAILED)
    assert failed.failure is not None
    assert failed.failure.reason == reason
    assert words in failed.failure.message


ASKED = "import urllib.request as r; r.urlopen('http://{{MODELYARD_HOST}}:{{MODELYARD_PORT}}/ok')"


@pytest.mark.parametrize("command", [f'exec python -S -c "{ASKED}"', ("python", "-S", "-c", ASKED)])
async def test_a_probe_that_runs_a_command_may_name_the_address_of_its_pod(
    here: World, command: str | tuple[str, ...]
) -> None:
    asked = Probe(command=command, period_seconds=1.0, timeout_seconds=10.0)
    await here.backend.start(launch(here, spec(health=Health(readiness=asked, liveness=asked))))
    ready = await until(here, lambda r: r.phase is Phase.READY)
    assert ready.failure is None


async def test_a_server_that_does_not_get_ready_says_what_its_probe_finds(here: World) -> None:
    await here.backend.start(launch(here, spec(f"touch unready; {SERVE}")))
    waits = await until(here, lambda r: r.failure is not None)
    assert waits.phase is Phase.STARTING
    assert waits.failure is not None
    assert waits.failure.reason == "ReadinessFailed"
    assert waits.failure.message == "the readiness probe fails: /unready answered 500"


async def test_modelyards_own_server_whose_probes_are_written_down_is_kept_too(here: World) -> None:
    """Its front is another program here: it is asked at the port, as any."""
    asked = DeploymentSpec(model="churn@3", health=Health(liveness=Probe(http="/livez", **QUICK)))
    await here.backend.start(here.launch("a", spec=asked))
    deployment = next(iter(here.objects("Deployment")))
    assert '"kept": true' in deployment["metadata"]["annotations"]["modelyard.dev/launch"]
    plain = here.launch("b", key=Key("default", "plain"), spec=DeploymentSpec(model="churn@3"))
    await here.backend.start(plain)
    other = next(each for each in here.objects("Deployment") if "plain" in each["metadata"]["name"])
    assert '"kept": false' in other["metadata"]["annotations"]["modelyard.dev/launch"]


async def test_in_debug_it_sleeps_until_somebody_starts_it_by_hand(here: World) -> None:
    key = Key("default", "web", Stage.DEBUG)
    await here.backend.start(launch(here, spec(), key=key))
    ready = await until(here, lambda r: r.phase is Phase.READY, key)
    async with httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"http://{ready.address}/")
        by_hand = 'setsid sh -c "$MODELYARD_START_COMMAND" >/dev/null 2>&1 </dev/null & echo $! >number'
        assert await run(here, "sh", "-c", by_hand, key=key) == 0
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await client.get(f"http://{ready.address}/")
                    break
                except httpx2.ConnectError:
                    await asyncio.sleep(0.05)
    assert answer.text == "ok"
    assert await run(here, "sh", "-c", 'kill "$(cat number)"', key=key) == 0, "it is none of the container's"


STAND_IN = """#!/bin/sh
for each in "$@"; do echo "$each"; done > "$HOME"/said
cp "$MODELYARD_CONFIG_DIR"/* "$HOME"/
exec python -S -c '
import http.server, os
class All(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer((os.environ["MODELYARD_HOST"], int(os.environ["MODELYARD_PORT"])), All).serve_forever()
'
"""


@pytest.fixture
def programs() -> Iterator[Path]:
    """A directory of stand-ins where pods see it: they have a `/tmp` of their own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        for name in PROGRAMS:
            Path(directory, name).write_text(STAND_IN)
            Path(directory, name).chmod(0o755)
        yield Path(directory)


PROGRAMS = ("tensorflow_model_server", "torchserve", "torch-model-archiver", "tritonserver", "vllm")
SIGNATURE = Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, 4)),))


@pytest.mark.parametrize(
    ("kind", "entry", "words", "said"),
    [
        (ServerKind.TRITON, "model.onnx", ("--http-port=8000", "--metrics-port=8002"),
         {"config.pbtxt": ('name: "web"', "data_type: TYPE_FP32")}),
        (ServerKind.TFSERVING, ".", ("--rest_api_port=8501", "--port=8500"),
         {"models.config": ('base_path: "/home/modelyard/models/web"',), "monitoring.config": ("/metrics",),
          "platform.config": ("allow_growth",)}),
        (ServerKind.TORCHSERVE, "model.mar", ("--models", "web=web.mar"),
         {"config.properties": ("inference_address=http://0.0.0.0:8080", "grpc_inference_port=7070",
                                "metrics_address=http://0.0.0.0:8082")}),
        (ServerKind.VLLM, ".", ("serve", "/models"), {"vllm.yaml": ('host: "0.0.0.0"', "port: 8000")}),
    ],
)  # fmt: skip
async def test_a_known_server_finds_what_was_generated_for_it(
    here: World,
    files: tuple[str, dict[str, bytes]],
    programs: Path,
    kind: ServerKind,
    entry: str,
    words: tuple[str, ...],
    said: dict[str, tuple[str, ...]],
) -> None:
    """Its image is played by a program that writes down what it is given."""
    pulled: list[str] = []
    known = here.kubelet.images

    def image(name: str) -> object:
        pulled.append(name)
        mine = known("modelyard/serving")
        assert mine is not None
        return replace(mine, path=f"{programs}:{mine.path}")

    here.kubelet.images = image  # type: ignore[assignment]
    wanted = DeploymentSpec(model="churn@3", server=Server(kind=kind))
    serialization = Serialization.ONNX if kind is ServerKind.TRITON else None
    subject = Subject(name="web", version="3", entry=entry, serialization=serialization, signature=SIGNATURE)
    given = here.launch("a", key=WEB, spec=wanted, program=program(wanted, subject))
    content = b"a model"
    file = File(path="model.onnx", size=len(content), sha256=hashlib.sha256(content).hexdigest())
    files[1][file.sha256] = content
    artifact = replace(given.guest.artifact, files=(file,))
    await here.backend.start(replace(given, guest=replace(given.guest, artifact=artifact)))
    await until(here, lambda r: r.phase is Phase.READY)
    assert given.program is not None
    assert given.program.image in pulled
    shell = await here.backend.exec(WEB, "a", ("sh", "-c", "cat said; echo; for f in *; do cat $f; done"))
    found = b""
    while (output := await shell.read()) is not None:
        found += output.data
    await shell.close()
    text = found.decode()
    for word in (*words, *(each for found in said.values() for each in found)):
        assert word in text, text
    assert "{{" not in text, "every name is filled in"
    assert "$(K8S" not in text
    assert await run(here, "sh", "-c", " && ".join(f"test -f /config/{name}" for name in said)) == 0
