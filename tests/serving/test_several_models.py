"""One front with several models: found by name and version, loaded and unloaded one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.serving.replicas import FP64, IDENTITY, Replica, infer_body, is_alive, replica

NEGATED = "def predict(inputs): return {'output': -inputs['input']}"
BROKEN = "raise RuntimeError('no such luck')"


def model(directory: Path, name: str, code: str, *, version: str = "1", load: bool = True) -> dict[str, Any]:
    """What `models` in replica.json says of a model besides what all have."""
    home = directory / f"{name}-{version}"
    home.mkdir()
    (home / "model.py").write_text(code)
    config = {
        "format": "python",
        "serialization": "python",
        "entry": "model.py",
        "path": str(home),
        "files": [],
        "signature": FP64,
        "runtime": "host",
        "threads": 1,
    }
    return {"service": name, "name": name, "model": name, "version": version, "load": load, "config": config}


@pytest.fixture
def several(tmp_path: Path) -> Any:
    def start(*models: dict[str, Any]) -> Any:
        template = _worker_template()
        listed = [
            {k: v for k, v in each.items() if k != "config"}
            | {"worker": template | {"config": each["config"], "cwd": str(tmp_path)}}
            for each in models
        ]
        return replica(models=listed, listen="tcp", model_control=True)

    return start


def _worker_template() -> dict[str, Any]:
    with replica() as running:
        worker: dict[str, Any] = json.loads((running.directory / "replica.json").read_text())["worker"]
        return worker


def outputs(running: Replica, path: str) -> tuple[int, Any]:
    answer = running.call("POST", f"/v2/models/{path}/infer", infer_body(1, 2))
    return answer.status, answer.json["outputs"][0]["data"] if answer.status == 200 else answer.json["error"]


def index(running: Replica, body: str = "") -> dict[tuple[str, str], str]:
    entries = running.call("POST", "/v2/repository/index", body).json
    return {(entry["name"], entry["version"]): entry["state"] for entry in entries}


def test_each_model_answers_by_its_name_and_version(several: Any, tmp_path: Path) -> None:
    models = (
        model(tmp_path, "same", IDENTITY, version="2"),
        model(tmp_path, "same", NEGATED, version="1"),
        model(tmp_path, "other", NEGATED),
    )
    with several(*models) as running:
        assert outputs(running, "same") == (200, [1, 2])
        assert outputs(running, "same/versions/2") == (200, [1, 2])
        assert outputs(running, "same/versions/1") == (200, [-1, -2])
        assert outputs(running, "other") == (200, [-1, -2])
        assert running.call("GET", "/v2/models/same").json["versions"] == ["2", "1"]
        status, error = outputs(running, "same/versions/3")
        assert (status, error) == (
            404,
            'model "same" has no version "3" here; this replica serves version "2" and "1"',
        )
        assert outputs(running, "none") == (
            404,
            'unknown model "none"; this replica serves "same" and "other"',
        )
        assert index(running) == {("same", "2"): "READY", ("same", "1"): "READY", ("other", "1"): "READY"}
        text = running.call("GET", "/metrics").body.decode()
        assert text.count("# TYPE modelyard_requests_total counter") == 1
        assert 'model="same",version="1",protocol="v2",code="200"} 1' in text


def test_an_unloaded_model_gives_its_process_back_and_its_neighbour_answers_on(
    several: Any, tmp_path: Path
) -> None:
    with several(model(tmp_path, "a", IDENTITY), model(tmp_path, "b", NEGATED)) as running:
        first = running.state["workers"][0]["pid"]
        answer = running.call("POST", "/v2/repository/models/a/unload")
        assert (answer.status, answer.body) == (200, b"")
        assert not is_alive(first)
        assert index(running) == {("a", "1"): "UNAVAILABLE", ("b", "1"): "READY"}
        assert index(running, '{"ready": true}') == {("b", "1"): "READY"}
        assert outputs(running, "a") == (
            503,
            'model "a" is not loaded: POST /v2/repository/models/a/load loads it',
        )
        assert running.call("GET", "/v2/models/a/ready").status == 503
        assert outputs(running, "b") == (200, [-1, -2])
        # Nobody wants it now, so the server as a whole is ready.
        assert running.call("GET", "/v2/health/ready").status == 200
        assert running.call("POST", "/v2/repository/models/a/load").status == 200
        assert outputs(running, "a") == (200, [1, 2])
        assert running.call("POST", "/v2/repository/models/a/load").status == 200


def test_a_model_that_cannot_be_loaded_leaves_the_others_alone(several: Any, tmp_path: Path) -> None:
    models = (model(tmp_path, "sound", IDENTITY), model(tmp_path, "broken", BROKEN, load=False))
    with several(*models) as running:
        assert index(running)["broken", "1"] == "UNAVAILABLE"
        for _ in range(2):
            answer = running.call("POST", "/v2/repository/models/broken/load")
            assert answer.status == 400
            assert "failed to load 'broken'" in answer.json["error"]
            assert "no such luck" in answer.json["error"]
        assert outputs(running, "sound") == (200, [1, 2])
        ready = running.call("GET", "/v2/health/ready")
        assert (ready.status, "no such luck" in ready.json["error"]) == (503, True)
        assert running.call("POST", "/v2/repository/models/broken/unload").status == 200
        assert running.call("GET", "/v2/health/ready").status == 200


def test_dialects_that_name_the_model_in_path_or_body_find_it(several: Any, tmp_path: Path) -> None:
    shout = "def predict(inputs): return {'text_output': ['A'], 'embedding': [[1.0, 2.0]]}"
    texts = {
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "text_output", "datatype": "BYTES", "shape": [-1]},
            {"name": "embedding", "datatype": "FP64", "shape": [-1, 2]},
        ],
    }
    talker = model(tmp_path, "talker", shout)
    talker["signature"] = talker["config"]["signature"] = texts
    with several(model(tmp_path, "a", IDENTITY), model(tmp_path, "b", NEGATED), talker) as running:
        for name, predicted in (("a", [[1.0, 2.0]]), ("b", [[-1.0, -2.0]])):
            answer = running.call("POST", f"/v1/models/{name}:predict", '{"instances": [[1, 2]]}')
            assert answer.json == {"predictions": predicted}
        assert running.call("POST", "/invocations", '{"instances": [[1, 2]]}').json == {
            "predictions": [[1, 2]]
        }
        ask = {"model": "talker", "prompt": "x"}
        answer = running.call("POST", "/v1/completions", json.dumps(ask))
        assert answer.json["choices"][0]["text"] == "A"
        assert answer.headers["x-modelyard-model-version"] == "1"
        refused = running.call("POST", "/v1/completions", json.dumps({**ask, "model": "a"}))
        assert (refused.status, refused.json["path"]) == (400, "model")
        listed = running.call("GET", "/v1/models").json
        assert listed["models"] == ["a", "b", "talker"]
        assert [each["capabilities"] for each in listed["data"]] == [[], [], ["embeddings", "completions"]]
        entries = running.call("GET", "/v2/models/stats").json["model_stats"]
        assert {each["name"]: each["inference_count"] for each in entries} == {"a": 2, "b": 1, "talker": 1}


def test_an_unload_waits_for_the_requests_that_came_before(several: Any, tmp_path: Path) -> None:
    slow = "import time\ndef predict(inputs):\n    time.sleep(0.5)\n    return {'output': inputs['input']}"
    with several(model(tmp_path, "slow", slow), model(tmp_path, "b", IDENTITY)) as running:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(outputs, running, "slow")
            running.wait_for(
                lambda: (
                    'modelyard_inflight{project="default",service="slow",stage="production",model="slow",'
                    'version="1"} 1' in running.call("GET", "/metrics").body.decode()
                )
            )
            assert running.call("POST", "/v2/repository/models/slow/unload").status == 200
            assert pending.result() == (200, [1, 2])


def test_load_and_unload_of_unknown_models_and_bad_bodies(several: Any, tmp_path: Path) -> None:
    with several(model(tmp_path, "a", IDENTITY), model(tmp_path, "b", IDENTITY)) as running:
        unknown = running.call("POST", "/v2/repository/models/none/load")
        assert (unknown.status, unknown.json["error"]) == (
            404,
            'unknown model "none"; this replica serves "a" and "b"',
        )
        broken = running.call("POST", "/v2/repository/models/a/load", "{")
        assert (broken.status, "not JSON" in broken.json["error"]) == (400, True)
        assert running.call("GET", "/v2/repository/models/a/load").status == 405


def test_repeated_loads_and_unloads_leave_no_process_behind(several: Any, tmp_path: Path) -> None:
    with several(model(tmp_path, "a", IDENTITY, load=False), model(tmp_path, "b", IDENTITY)) as running:
        pids = set()
        for _ in range(5):
            assert running.call("POST", "/v2/repository/models/a/load").status == 200
            pids |= {worker["pid"] for worker in running.state["workers"]}
            assert running.call("POST", "/v2/repository/models/a/unload").status == 200
        left = {pid for pid in pids if is_alive(pid)}
        assert left == {worker["pid"] for worker in running.state["workers"]}
        assert len(left) == 1


def test_clients_of_a_deployment_cannot_unload_its_model() -> None:
    with replica() as running:
        answer = running.call("POST", "/v2/repository/models/echo/unload")
        assert (answer.status, "undeploy or scale the service instead" in answer.json["error"]) == (403, True)
        assert running.call("POST", "/v2/repository/models/echo/load").status == 200
        assert running.infer(1, 2).status == 200
