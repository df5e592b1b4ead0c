"""Every way to ask for a prediction: the same rows, the same answer."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.replicas import Replica, replica

Rows = list[list[float]]
NAMES = ("a", "b", "c")
LABELS = Callable[[Any], list[Any]]


def records(rows: Rows) -> list[dict[str, float]]:
    return [dict(zip(NAMES, row, strict=True)) for row in rows]


def split(rows: Rows) -> dict[str, Any]:
    return {"columns": list(NAMES), "data": rows}


def tensor(rows: Rows) -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    return {"inputs": [{"name": "input", "datatype": "FP64", "shape": [len(rows), 3], "data": flat}]}


def columns(rows: Rows) -> dict[str, Any]:
    """The table as MLServer's `pd`: an input for each column, here in another order."""
    named = [
        {"name": name, "datatype": "FP64", "shape": [len(rows), 1], "data": [row[at] for row in rows]}
        for at, name in reversed(list(enumerate(NAMES)))
    ]
    return {"parameters": {"content_type": "pd"}, "inputs": named}


def of_v2(answer: Any) -> list[Any]:
    label, scores = answer["outputs"]
    wide = [scores["data"][at : at + 3] for at in range(0, len(scores["data"]), 3)]
    return list(zip(label["data"], wide, strict=True))


def of_records(answer: list[dict[str, Any]]) -> list[Any]:
    return [(row["label"], row["probabilities"]) for row in answer]


def of_columns(answer: Any) -> list[Any]:
    return list(zip(answer["label"], answer["probabilities"], strict=True))


DIALECTS: dict[str, tuple[str, Callable[[Rows], Any], Callable[[Any], list[Any]]]] = {
    "v2": ("/v2/models/table/infer", tensor, of_v2),
    "v2 pd": ("/v2/models/table/infer", columns, of_v2),
    "rows": ("/predict", records, of_records),
    "rows split": ("/predict", split, lambda a: [tuple(row) for row in a["data"]]),
    "DaaS": (
        "/predict",
        lambda rows: {"args": {"X": records(rows)}},
        lambda a: [(row["PredictedValue"], row["Probabilities"]) for row in a["result"]],
    ),
    "KServe V1": (
        "/v1/models/table:predict",
        lambda rows: {"instances": rows},
        lambda a: of_records(a["predictions"]),
    ),
    "TF Serving rows": (
        "/v1/models/table/versions/3:predict",
        lambda rows: {"signature_name": "serving_default", "instances": records(rows)},
        lambda a: of_records(a["predictions"]),
    ),
    "TF Serving columns": (
        "/v1/models/table/labels/production:predict",
        lambda rows: {"inputs": rows},
        lambda a: of_columns(a["outputs"]),
    ),
    "TF Serving named columns": (
        "/v1/models/table/labels/latest:predict",
        lambda rows: {"inputs": {"input": rows}},
        lambda a: of_columns(a["outputs"]),
    ),
    "MLflow split": (
        "/invocations",
        lambda rows: {"dataframe_split": split(rows)},
        lambda a: of_records(a["predictions"]),
    ),
    "MLflow records": (
        "/invocations",
        lambda rows: {"dataframe_records": records(rows)},
        lambda a: of_records(a["predictions"]),
    ),
    "MLflow instances": (
        "/invocations",
        lambda rows: {"instances": rows},
        lambda a: of_records(a["predictions"]),
    ),
    "MLflow inputs": (
        "/invocations",
        lambda rows: {"inputs": {name: [row[at] for row in rows] for at, name in enumerate(NAMES)}},
        lambda a: of_records(a["predictions"]),
    ),
    "ai-serving": ("/v1/models/table", lambda rows: {"X": records(rows)}, lambda a: of_records(a["result"])),
    "ai-serving split": (
        "/v1/models/table/versions/3",
        lambda rows: {"X": split(rows), "filter": ["probabilities", "label"]},
        lambda a: [tuple(reversed(row)) for row in a["result"]["data"]],
    ),
}
NUMBERS = st.floats(-1e6, 1e6).map(lambda value: value + 0.0)
ROWS = st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5)


def expected(rows: Rows) -> list[Any]:
    scores = [[a, b * 2, c - a] for a, b, c in rows]
    return [(max(range(3), key=row.__getitem__), row) for row in scores]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_the_same_rows_get_the_same_answer_in_every_dialect(table: Replica, rows: Rows) -> None:
    for name, (path, ask, read) in DIALECTS.items():
        answer = table.call("POST", path, json.dumps(ask(rows)), {"Content-Type": "application/json"})
        assert answer.status == 200, (name, answer.body)
        assert read(answer.json) == expected(rows), name
    lines = ["a,b,c", *(",".join(map(repr, row)) for row in rows)]
    for text in ("\r\n".join(lines), "\n".join(lines[1:]) + "\n"):
        answer = table.call("POST", "/invocations", text, {"Content-Type": "text/csv; charset=utf-8"})
        assert of_records(answer.json["predictions"]) == expected(rows), text


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_every_dialect_understands_compressed_requests_and_refuses_bombs(
    table: Replica, name: str, coding: str
) -> None:
    path, ask, read = DIALECTS[name]
    pack = gzip.compress if coding == "gzip" else zlib.compress
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    rows = [[1.0, 2.0, 3.0]] * 1000
    answer = table.call("POST", path, pack(json.dumps(ask(rows)).encode()), headers)
    assert read(answer.json) == expected(rows)
    assert table.call("POST", path, pack(bytes(70 << 20)), headers).status == 413
    assert table.call("POST", path, pack(b"{}")[:-3], headers).status == 400


def test_columns_of_several_types_go_through_every_dialect(mixed: Replica) -> None:
    row = {"age": 40, "city": "Bern", "income": 1.5}
    asked: list[tuple[str, Any, str]] = [
        ("/v1/models/mixed:predict", {"instances": [row]}, "predictions"),
        ("/v1/models/mixed:predict", {"instances": [list(row.values())]}, "predictions"),
        ("/v1/models/mixed:predict", {"inputs": {name: [value] for name, value in row.items()}}, "outputs"),
        ("/invocations", {"dataframe_records": [row]}, "predictions"),
        ("/invocations", {"inputs": {name: [value] for name, value in row.items()}}, "predictions"),
        ("/v1/models/mixed:regress", {"examples": [{**row, "city": ["Bern"]}]}, "result"),
        ("/v1/models/mixed:regress", {"context": row, "examples": [{}]}, "result"),
    ]
    encoded = {**row, "city": {"b64": base64.b64encode(b"Bern").decode()}}
    asked.append(("/v1/models/mixed:predict", {"instances": [encoded]}, "predictions"))
    for path, body, envelope in asked:
        answer = mixed.call("POST", path, json.dumps(body))
        assert (answer.status, answer.json) == (200, {envelope: [45.5]}), body
    text = 'city,income,age\n"Bern",1.5,40\n'
    answer = mixed.call("POST", "/invocations", text, {"Content-Type": "text/csv"})
    assert answer.json == {"predictions": [45.5]}


def test_single_values_are_instances_of_a_model_with_one_column() -> None:
    signature = {
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}],
        "outputs": [{"name": "y", "datatype": "FP64", "shape": [-1]}],
    }
    with replica(
        code="def predict(inputs): return {'y': inputs['x'] / 2 - 1}", signature=signature
    ) as running:
        answer = running.call("POST", "/v1/models/echo:predict", '{"instances": [1.0, 2.0, 5.0]}')
        assert answer.json == {"predictions": [-0.5, 0.0, 1.5]}
        answer = running.call("POST", "/v1/models/echo:predict", '{"inputs": [1.0, 2.0, 5.0]}')
        assert answer.json == {"outputs": [-0.5, 0.0, 1.5]}


def test_classification_of_examples_names_the_classes(table: Replica) -> None:
    body = json.dumps({"examples": [{"a": 1, "b": 2, "c": 3}]})
    answer = table.call("POST", "/v1/models/table:classify", body)
    assert answer.json == {"result": [[["x", 1.0], ["y", 4.0], ["z", 2.0]]]}


def test_a_model_under_v1_satisfies_all_who_ask_for_it(table: Replica) -> None:
    answer = table.call("GET", "/v1/models/table").json
    assert (answer["name"], answer["ready"], answer["id"], answer["object"]) == (
        "table",
        True,
        "table",
        "model",
    )
    status = {"error_code": "OK", "error_message": ""}
    assert answer["model_version_status"] == [{"version": "3", "state": "AVAILABLE", "status": status}]
    assert answer["latestVersion"] == "3"
    listed = table.call("GET", "/v1/models").json
    assert listed["models"] == ["table"]
    assert [each["id"] for each in listed["data"]] == ["table"]
    for path in ("/versions/3", "/labels/production", "/labels/latest"):
        assert table.call("GET", f"/v1/models/table{path}").status == 200
        definition = table.call("GET", f"/v1/models/table{path}/metadata").json
        assert definition["model_spec"] == {"name": "table", "signature_name": "", "version": "3"}
        inputs = definition["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
        assert inputs["input"]["dtype"] == "DT_DOUBLE"
        assert [each["size"] for each in inputs["input"]["tensor_shape"]["dim"]] == ["-1", "3"]


def test_a_model_that_is_not_loaded_says_so_in_v1() -> None:
    with replica(model_control=True) as running:
        running.call("POST", "/v2/repository/models/echo/unload")
        answer = running.call("GET", "/v1/models/echo")
        assert (answer.status, answer.json["ready"]) == (503, False)
        assert answer.json["model_version_status"][0]["state"] == "END"
        refused = running.call("POST", "/v1/models/echo:predict", '{"instances": [[1]]}')
        assert (refused.status, "not loaded" in refused.json["error"]) == (503, True)


def test_what_machines_ask_of_other_servers_is_answered(table: Replica) -> None:
    assert table.call("GET", "/").json == {"status": "alive"}
    assert table.call("GET", "/health").status == 200
    assert table.call("GET", "/ping").status == 200
    assert table.call("GET", "/up").body == b"OK"
    version = table.call("GET", "/version")
    assert (version.status, version.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert version.body.decode() == table.call("GET", "/v2").json["version"]


def test_vertex_names_its_routes_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/alive/and/well")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/ask")
    with replica() as running:
        assert running.call("GET", "/alive/and/well").status == 200
        body = '{"instances": [[1, 2]], "parameters": {"confidence": 0.5}}'
        assert running.call("POST", "/ask", body).json == {"predictions": [[1.0, 2.0]]}
        assert running.call("POST", "/ask", "{").status == 400
