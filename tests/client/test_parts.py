"""What the SDK does before and after the wire: capture, metrics, payloads, connections, errors."""

from __future__ import annotations

import hashlib
import json
import socketserver
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, explained_variance_score, f1_score, mean_absolute_error

import modelyard
from modelyard.api.problems import STATUS, from_error
from modelyard.client import capture, connection, downloads, metrics, options, payload, waiting
from modelyard.client.connection import Connection
from modelyard.client.problems import Unreachable, error_from
from modelyard.domain import errors
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.model import File, Function
from tests.client.doubler import Doubler

X, Y = load_iris(return_X_y=True)
INPUTS = [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
ROOT = Path(__file__).parents[2]


def test_a_class_is_written_as_the_module_it_stands_in(tmp_path: Path) -> None:
    captured = capture.capture(Doubler, tmp_path)
    space: dict[str, Any] = {}
    exec(captured.files["model.py"].read_text(), space)
    assert space["Model"]().predict({"x": 2}) == {"x": 4}


def test_what_has_no_format_is_refused_with_what_would_do(tmp_path: Path) -> None:
    class Useless:
        pass

    for model in (object(), 7, lambda rows: rows, Useless, None):
        with pytest.raises(errors.Invalid) as caught:
            capture.capture(model, tmp_path)
        assert caught.value.errors[0].path == "model"
    with pytest.raises(errors.Invalid, match="does not exist"):
        capture.capture(tmp_path / "nothing.onnx", tmp_path)


def test_a_fitted_catboost_model_is_written_in_its_own_form(tmp_path: Path) -> None:
    import catboost

    model = catboost.CatBoostClassifier(iterations=2, verbose=False, allow_writing_files=False)
    with pytest.raises(errors.Invalid, match="CatBoostClassifier is not fitted; call fit"):
        capture.capture(model, tmp_path)
    captured = capture.capture(model.fit(X, Y), tmp_path)
    assert captured.files["model.cbm"].read_bytes().startswith(b"CBM1")
    assert f"catboost=={catboost.__version__}" in captured.requirements.packages
    assert metrics.function_of(model, Y) is Function.CLASSIFICATION
    assert metrics.evaluate(model, X, Y, Function.CLASSIFICATION)["accuracy"] > 0.5


def test_a_directory_is_taken_whole_without_what_python_leaves(tmp_path: Path) -> None:
    (tmp_path / "a" / "__pycache__").mkdir(parents=True)
    (tmp_path / "a" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (tmp_path / "a" / "model.py").write_text("x")
    (tmp_path / "words.txt").write_text("x")
    assert sorted(capture.capture(tmp_path, tmp_path).files) == ["a/model.py", "words.txt"]


def test_the_sample_is_the_first_row_and_mixed_tables_name_their_columns() -> None:
    assert capture.sample_of(X) == ({"input": [X[0].tolist()]}, None)
    assert capture.sample_of(None) == (None, None)
    table = pd.DataFrame(
        {"a": [1, 2], "b": ["x", "y"], "c": [True, False], "d": pd.to_datetime(["2026-01-01"] * 2)}
    )
    sample, signature = capture.sample_of(table)
    assert signature is not None
    assert [t.datatype.value for t in signature.inputs] == ["INT64", "BYTES", "BOOL", "BYTES"]
    assert sample is not None
    assert orjson.dumps(sample["a"]) == b"[1]"


def test_metrics_are_those_of_scikit_learn() -> None:
    classifier = LogisticRegression(max_iter=1000).fit(X, Y)
    answer = classifier.predict(X)
    found = metrics.evaluate(classifier, X, Y, metrics.function_of(classifier, Y))
    assert found["accuracy"] == pytest.approx(accuracy_score(Y, answer))
    assert found["f1"] == pytest.approx(f1_score(Y, answer, average="weighted"))
    regressor = LinearRegression().fit(X[:, :3], X[:, 3])
    answer = regressor.predict(X[:, :3])
    found = metrics.evaluate(regressor, X[:, :3], X[:, 3], metrics.function_of(regressor, X[:, 3]))
    assert found["explained_variance"] == pytest.approx(explained_variance_score(X[:, 3], answer))
    assert found["mae"] == pytest.approx(mean_absolute_error(X[:, 3], answer))
    assert set(found) == {"explained_variance", "mae", "rmse"}


def test_metrics_need_as_many_targets_as_rows() -> None:
    with pytest.raises(errors.Invalid) as caught:
        metrics.evaluate(LinearRegression().fit(X, Y), X, Y[:-1], Function.REGRESSION)
    assert caught.value.errors[0].path == "y_test"


def test_the_kind_of_answer_is_the_models_own_word_or_that_of_the_targets() -> None:
    assert metrics.function_of(KMeans(), None) is Function.CLUSTERING
    assert metrics.function_of(LinearRegression(), None) is Function.REGRESSION
    assert metrics.function_of(object(), None) is Function.UNKNOWN
    assert metrics.function_of(object(), np.array([0.5, 1.5])) is Function.REGRESSION
    assert metrics.function_of(object(), np.array(["a", "b"])) is Function.CLASSIFICATION
    assert metrics.function_of(object(), np.eye(3)) is Function.CLASSIFICATION


def test_arrays_take_the_datatype_that_the_model_declares() -> None:
    request = payload.tensors_request(X[:2], INPUTS)
    assert request["inputs"][0]["data"].dtype == np.float32
    assert request["inputs"][0]["shape"] == [2, 4]
    assert payload.tensors_request([[1, 2, 3, 4]], INPUTS)["inputs"][0]["data"].tolist() == [1, 2, 3, 4]
    texts = [{"name": "t", "datatype": "BYTES", "shape": [-1]}]
    assert payload.tensors_request([b"a", b"b"], texts)["inputs"][0]["data"] == ["a", "b"]
    whole = [{"name": "n", "datatype": "INT64", "shape": [-1]}]
    with pytest.raises(errors.Invalid, match="INT64") as caught:
        payload.tensors_request(np.array([1.5]), whole)
    assert caught.value.errors[0].path == "rows.n"
    with pytest.raises(errors.Invalid, match="FP32"):
        payload.tensors_request([["a"]], INPUTS)
    with pytest.raises(errors.Invalid):
        payload.tensors_request([[1, 2], [3]], INPUTS)


def test_answers_become_arrays_of_their_datatype_and_shape() -> None:
    outputs = [
        {"name": "p", "datatype": "FP64", "shape": [2, 2], "data": [0.1, 0.9, None, 0.2]},
        {"name": "l", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
    ]
    found = payload.arrays({"outputs": outputs})
    assert found["p"].shape == (2, 2)
    assert np.isnan(found["p"][1, 0])
    assert found["l"].tolist() == ["a", "b"]


def test_test_requests_take_what_people_have() -> None:
    assert payload.test_request(None) == {}
    assert payload.test_request(X[:1]) == {"rows": X[:1].tolist()}
    assert payload.test_request([{"a": 1}]) == {"rows": [{"a": 1}]}
    assert payload.test_request({"a": np.ones(2)}) == {"inputs": {"a": [1.0, 1.0]}}
    assert payload.test_request(pd.DataFrame({"a": [1]})) == {"rows": {"columns": ["a"], "data": [[1]]}}
    assert payload.raw_test_request({"inputs": {"a": [1]}}) == {"inputs": {"a": [1]}}
    assert payload.raw_test_request({"a": [1]}) == {"inputs": {"a": [1]}}
    assert payload.raw_test_request({"columns": ["a"], "data": [[1]]}) == {
        "rows": {"columns": ["a"], "data": [[1]]}
    }


def test_a_table_with_missing_values_and_times_can_be_sent() -> None:
    table = pd.DataFrame({"a": [1.0, None], "t": pd.to_datetime(["2026-01-01", None]), "s": ["x", None]})
    assert orjson.loads(payload.encoded(payload.rows_request(table)))["data"][1] == [None, None, None]


def test_what_no_json_can_carry_is_refused() -> None:
    with pytest.raises(errors.Invalid) as caught:
        payload.encoded({"rows": [{"a": object()}]})
    assert caught.value.errors[0].path == "rows"


@pytest.mark.parametrize("kind", errors.ALL)
def test_every_error_survives_the_wire(kind: type[errors.ModelyardError]) -> None:
    raised = kind("what and why", errors=[errors.FieldError("spec.name", "must be")])
    if isinstance(raised, errors.Conflict):
        raised.generation = 7
    if isinstance(raised, errors.Unavailable):
        raised.retry_after_seconds = 3.0
    response = from_error(raised)
    assert response.status_code == STATUS[kind]
    back = error_from(response.status_code, bytes(response.body), response.headers)
    assert type(back) is kind
    assert back.message == "what and why"
    assert back.errors == raised.errors
    for field in ("generation", "retry_after_seconds"):
        assert getattr(back, field, None) == getattr(raised, field, None)


def test_an_answer_of_something_else_on_the_way_is_an_error_too() -> None:
    for status, kind in ((502, errors.Unavailable), (404, errors.NotFound), (418, errors.ModelyardError)):
        for body in (
            b"",
            b"<html>bad gateway</html>",
            b"[]",
            b'{"error": "no route", "errors": [1, {}]}',
            b'"x"',
        ):
            assert type(error_from(status, body, {"retry-after": "soon"})) is kind


def test_the_connection_comes_from_arguments_then_environment_then_files(tmp_path: Path) -> None:
    environ = {"MODELYARD_HOME": str(tmp_path)}
    assert connection.resolve(None, None, environ) == Connection(connection.DEFAULT_URL, "")
    (tmp_path / "server.json").write_text('{"url": "http://127.0.0.1:9999"}')
    (tmp_path / "admin-token").write_text("myu_local\n")
    assert connection.resolve(None, None, environ) == Connection("http://127.0.0.1:9999", "myu_local")
    saved = connection.save_login(Connection("http://far:1", "myu_far"), environ)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert connection.resolve(None, None, environ) == Connection("http://far:1", "myu_far")
    both = {**environ, "MODELYARD_URL": "http://env:2/", "MODELYARD_TOKEN": "myu_env"}
    assert connection.resolve(None, None, both) == Connection("http://env:2", "myu_env")
    assert connection.resolve("http://arg:3", "myu_arg", both) == Connection("http://arg:3", "myu_arg")


def test_the_administrators_token_goes_to_the_socket_and_never_to_the_front_doors_port(
    tmp_path: Path,
) -> None:
    heard: list[bytes] = []
    with socketserver.TCPServer(("127.0.0.1", 0), _listener(heard)) as impostor:
        threading.Thread(target=impostor.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{impostor.server_address[1]}"
        near = tmp_path / "api.sock"
        (tmp_path / "server.json").write_text(json.dumps({"url": url, "socket": str(near)}))
        (tmp_path / "admin-token").write_text("myu_local\n")
        with modelyard.Client(environ={"MODELYARD_HOME": str(tmp_path)}) as client:
            assert client.connection.socket == str(near)
            with pytest.raises(Unreachable):
                client.system()
        impostor.shutdown()
    assert heard == []


def _listener(heard: list[bytes]) -> type[socketserver.BaseRequestHandler]:
    class Listener(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard.append(self.request.recv(65536))

    return Listener


def test_the_administrators_token_is_offered_to_no_other_server(tmp_path: Path) -> None:
    environ = {"MODELYARD_HOME": str(tmp_path)}
    (tmp_path / "server.json").write_text('{"url": "http://127.0.0.1:9999"}')
    (tmp_path / "admin-token").write_text("myu_local")
    connection.save_login(Connection("http://far:1", "myu_far"), environ)
    for other in ("http://evil:1", "http://127.0.0.1:9999.evil", "http://127.0.0.1:99990"):
        assert connection.resolve(other, None, environ).token == ""
    assert "myu_far" not in repr(connection.resolve(None, None, environ))


def test_damaged_files_beside_the_installation_are_as_none(tmp_path: Path) -> None:
    for text in ("", "{", "[]", "null", '"x"'):
        (tmp_path / "server.json").write_text(text)
        (tmp_path / "client.toml").write_text(text)
        assert connection.resolve(None, None, {"MODELYARD_HOME": str(tmp_path)}).url == connection.DEFAULT_URL


def test_arguments_become_specs_and_wrong_ones_are_named() -> None:
    spec = options.deployment_spec("churn@1", {"cpu": 1, "memory": "1Gi", "replicas": 2, "gpu": None})
    assert spec.resources.cpu == "1"
    assert spec.replicas == 2
    with pytest.raises(errors.Invalid, match="no such argument") as caught:
        options.build(DeploymentSpec, {"model": "a", "replica": 1})
    assert caught.value.errors[0].path == "replica"
    with pytest.raises(errors.Invalid, match=r"limits\.foo: no such argument; the API's reference") as caught:
        options.build(
            DeploymentSpec, {"model": "a", "limits": {"foo": 1}}
        )  # what the spec has is no help here
    with pytest.raises(errors.Invalid, match=r"resources\.memory"):
        options.deployment_spec("churn@1", {"memory": "lots"})


def test_a_download_appears_whole_and_right_or_not_at_all(tmp_path: Path) -> None:
    file = File(path="a/b.txt", size=2, sha256=hashlib.sha256(b"ok").hexdigest())
    place = downloads.target(tmp_path, file)
    with downloads.Checked(place, file) as out:
        out.write(b"ok")
    assert place.read_bytes() == b"ok"
    place.unlink()
    with pytest.raises(errors.Refused, match="damaged"), downloads.Checked(place, file) as out:
        out.write(b"no")
    with pytest.raises(ConnectionError), downloads.Checked(place, file):
        raise ConnectionError
    assert list(place.parent.iterdir()) == []
    for path in ("../x", "/etc/x", "a/../../x"):
        with pytest.raises(errors.Refused):
            downloads.target(tmp_path, File(path=path, size=0, sha256=""))


def test_log_lines_are_read_from_events() -> None:
    assert waiting.log_line('data: {"replica": "a", "text": "x"}') == ("a", "x")
    for line in ("", ": still here", "event: x", "id: 1"):
        assert waiting.log_line(line) is None


def test_the_synchronous_client_is_what_the_asynchronous_one_makes() -> None:
    done = subprocess.run(
        [sys.executable, "tools/unasync_client.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
