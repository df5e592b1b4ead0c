"""How each server is started on the shared models, and how it is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.http import Question
from bench.peers import workloads
from bench.peers.environments import HOME, ROOT, interpreter
from bench.peers.workloads import Workload
from tests.support.platform import free_port

INSIDE = Path(__file__).parent / "inside"
_INFER = "/v2/models/m/infer"
OURS = "Modelyard"
OTHER = "Modelyard, other checkout"
FLOOR = "FastAPI floor"
LIMIT = "raw front, no worker"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server runs for one workload."""

    work: Workload
    models: Path
    directory: Path
    """Of its own, empty."""
    port: int
    grpc_port: int

    @property
    def environ(self) -> dict[str, str]:
        """Few variables, the same for everybody; numeric libraries compute with one thread."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return {
            **kept,
            **threads,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "BENCH_MODEL": self.work.model,
            "BENCH_MODELS": str(self.models),
        }


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start."""

    command: list[str]
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Server:
    """A peer, ours or the floor."""

    label: str
    environment: str
    launch: Callable[[Place], Launch]
    ask: Callable[[Place], Question]
    binary: bool = False
    """Whether it takes binary tensors over HTTP."""
    one_port: bool = False
    """Whether it speaks gRPC on the port of its HTTP."""


def _script(name: str, environment: str) -> Callable[[Place], Launch]:
    def launch(place: Place) -> Launch:
        ports = [str(place.port), str(place.grpc_port)]
        return Launch([str(interpreter(environment)), str(INSIDE / name), *ports], place.environ)

    return launch


def _v2(place: Place) -> Question:
    if place.work.binary:
        body, size = workloads.v2_binary(place.work)
        more = {"inference-header-content-length": str(size), "content-type": "application/octet-stream"}
        return Question(place.port, _INFER, body, more=more)
    return Question(place.port, _INFER, workloads.v2_json(place.work))


def _floor(place: Place) -> Question:
    question = _v2(place)
    return (
        Question(place.port, "/binary", question.body, more=question.more) if place.work.binary else question
    )


def _ours_asked(place: Place) -> Question:
    if place.work.binary:
        return _v2(place)
    # Peers give one output each; a classifier of ours would give its probabilities too.
    wanted = {"outputs": [{"name": "label"}]} if place.work.model in ("logistic", "forest") else {}
    return Question(place.port, _INFER, workloads.v2_json(place.work, more=wanted))


def _under(path: str, key: str) -> Callable[[Place], Question]:
    return lambda place: Question(place.port, path, workloads.plain(place.work, key))


def _ours(place: Place, source: Path = ROOT / "src") -> Launch:
    formats = {
        "identity": {"format": "python", "entry": "model.py"},
        "logistic": {"format": "sklearn", "entry": "logistic.joblib", "serialization": "joblib"},
        "forest": {"format": "sklearn", "entry": "forest.joblib", "serialization": "joblib"},
        "boosting": {"format": "lightgbm", "entry": "boosting.txt"},
        "cnn": {"format": "onnx", "entry": "cnn.onnx"},
    }
    work = place.work
    signature: dict[str, object] = {}
    path = place.models
    if work.model == "identity":
        path = place.directory
        (path / "model.py").write_text('def predict(inputs):\n    return {"output": inputs["input"]}\n')
        spec = {"datatype": "FP32", "shape": [-1] * len(work.shape)}
        signature = {"inputs": [{"name": "input", **spec}], "outputs": [{"name": "output", **spec}]}
    config = {**formats[work.model], "path": str(path), "signature": signature, "threads": 1}
    replica = {
        "project": "bench", "service": "m", "name": "m", "model": "m", "version": "1", "revision": 1,
        "replica": "m-1", "listen": f"127.0.0.1:{place.port}", "platform": "", "signature": signature,
        "state_path": str(place.directory / "state.json"), "limits": {"queue": 256},
        "worker": {
            "interpreter": str(interpreter("models")),
            "package": str(source / "modelyard_worker"),
            "count": 1, "config": config, "cwd": str(place.directory),
            "env": {**place.environ, "PYTHONPATH": ""},
        },
    }  # fmt: skip
    settings = place.directory / "replica.json"
    settings.write_text(json.dumps(replica))
    command = [sys.executable, "-m", "modelyard.serving", "--config", str(settings)]
    return Launch(command, {**place.environ, "PYTHONPATH": str(source)})


def _other(place: Place) -> Launch:
    source = os.environ.get("BENCH_OTHER", "")
    if not source:
        raise RuntimeError("set BENCH_OTHER to the src directory of the other checkout")
    return _ours(place, Path(source))


def _mlserver(parallel: int) -> Callable[[Place], Launch]:
    def launch(place: Place) -> Launch:
        python = interpreter("mlserver")
        runtimes = {
            "logistic": ("mlserver_sklearn.SKLearnModel", "logistic.joblib"),
            "forest": ("mlserver_sklearn.SKLearnModel", "forest.joblib"),
            "boosting": ("mlserver_lightgbm.LightGBMModel", "boosting.txt"),
            "identity": ("bench.peers.inside.mlserver_model.Identity", "boosting.txt"),
        }
        implementation, file = runtimes[place.work.model]
        model = place.directory / "m"
        model.mkdir()
        if file.endswith(".txt"):
            shutil.copy(place.models / file, model / "model.bst")
            file = "model.bst"
        else:
            shutil.copy(place.models / file, model)
        settings = {"name": "m", "implementation": implementation, "parameters": {"uri": f"./{file}"}}
        (model / "model-settings.json").write_text(json.dumps(settings))
        ports = {"http_port": place.port, "grpc_port": place.grpc_port, "metrics_port": free_port()}
        server = {"host": "127.0.0.1", "parallel_workers": parallel, "debug": False, **ports}
        (place.directory / "settings.json").write_text(json.dumps(server))
        return Launch([str(python.with_name("mlserver")), "start", str(place.directory)], place.environ)

    return launch


def _bentoml(place: Place) -> Launch:
    command = [str(interpreter("bentoml")), "-m", "bentoml", "serve", "bentoml_service:Served"]
    command += ["--port", str(place.port), "--host", "127.0.0.1", "--working-dir", str(INSIDE)]
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(place.directory)}
    return Launch(command, {**place.environ, **quiet})


def _mlflow(place: Place) -> Launch:
    python = interpreter("mlflow")
    # Its command looks for programs on the path, so the environment is activated.
    environ = {**place.environ, "PATH": f"{python.parent}:/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true"}
    model = place.directory / "model"
    subprocess.run(
        [str(python), str(INSIDE / "mlflow_save.py"), str(model)],
        env=environ,
        check=True,
        capture_output=True,
    )
    command = [str(python.with_name("mlflow")), "models", "serve", "-m", str(model), "-h", "127.0.0.1"]
    return Launch([*command, "-p", str(place.port), "-w", "1", "--env-manager", "local"], environ)


def _triton(place: Place) -> Launch:
    python = interpreter("triton")
    packages = next((HOME / "triton" / "lib").glob("python3*")) / "site-packages"
    source = packages / "pytriton" / "tritonserver"
    backends = place.directory / "backends"
    shutil.copytree(source / "backends", backends)
    number = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(source / "python_backend_stubs" / number / "triton_python_backend_stub", backends / "python")
    version = place.directory / "repository" / "m" / "1"
    version.mkdir(parents=True)
    shutil.copy(INSIDE / "triton_model.py", version / "model.py")
    given, answer = f"TYPE_{place.work.datatype}", "TYPE_FP32"
    if place.work.model not in ("identity", "cnn"):
        answer = "TYPE_FP64" if place.work.model == "boosting" else "TYPE_INT64"
    config = (
        'name: "m"\nbackend: "python"\nmax_batch_size: 0\n'
        f'input [{{name: "input" data_type: {given} dims: {[-1] * len(place.work.shape)}}}]\n'
        f'output [{{name: "output" data_type: {answer} dims: {_triton_dims(place.work)}}}]\n'
        "instance_group [{kind: KIND_CPU count: 1}]\n"
    )
    (version.parent / "config.pbtxt").write_text(config)
    command = [str(source / "bin" / "tritonserver"), f"--model-repository={version.parents[1]}"]
    command += [f"--backend-directory={backends}", f"--http-port={place.port}", "--http-address=127.0.0.1"]
    command += [f"--grpc-port={place.grpc_port}", "--grpc-address=127.0.0.1", f"--metrics-port={free_port()}"]
    environ = {
        **place.environ,
        "BENCH_PATH": f"{packages}:{ROOT}",
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs"),
    }
    return Launch(command, environ)


def _triton_dims(work: Workload) -> list[int]:
    return {"identity": [-1] * len(work.shape), "cnn": [-1, -1]}.get(work.model, [-1])


SERVERS = {
    "ours": Server(OURS, "models", _ours, _ours_asked, binary=True, one_port=True),
    "other": Server(OTHER, "models", _other, _ours_asked, binary=True),
    "floor": Server(FLOOR, "fastapi", _script("floor.py", "fastapi"), _floor, binary=True),
    "raw": Server(LIMIT, "fastapi", _script("raw.py", "fastapi"), _v2, binary=True),
    "mlserver": Server("MLServer, 1 worker", "mlserver", _mlserver(1), _v2),
    "mlserver-inline": Server("MLServer, inline", "mlserver", _mlserver(0), _v2),
    "kserve": Server("KServe", "kserve", _script("kserve_server.py", "kserve"), _v2, binary=True),
    "bentoml": Server("BentoML", "bentoml", _bentoml, _under("/infer", "x")),
    "litserve": Server("LitServe", "litserve", _script("litserve_server.py", "litserve"),
                       lambda place: Question(place.port, "/predict", workloads.v2_json(place.work))),
    "mlflow": Server("MLflow", "mlflow", _mlflow, _under("/invocations", "inputs")),
    "triton": Server("Triton, Python model", "triton", _triton, _v2, binary=True),
    "ray": Server("Ray Serve", "ray", _script("ray_server.py", "ray"), _v2),
}  # fmt: skip
