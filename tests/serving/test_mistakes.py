"""The mistakes of clients, in every dialect: a 4xx in the shape that its clients read, with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serving.replicas import Replica

OIP = "/v2/models/table/infer"
V1 = "/v1/models/table:predict"
MLFLOW = "/invocations"
AI = "/v1/models/table"
ROWS = "/predict"
GENERATE = "/v2/models/shouter/generate"
STREAM = "/v2/models/shouter/generate_stream"
CHAT = "/v1/chat/completions"
TEXT = "/openai/v1/completions"
EMBEDDINGS = "/v1/embeddings"
GOOD = {"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}
SAID = [{"role": "user", "content": "hello"}]

TABLE_MISTAKES: list[tuple[str, Any, str]] = [
    (OIP, {"inputs": [GOOD | {"data": [1, 2]}]}, "inputs[0].data"),
    (OIP, {"inputs": [GOOD | {"data": [1, 2, "x"]}]}, "inputs[0].data[2]"),
    (OIP, {"inputs": [GOOD], "parameters": {"content_type": "hg"}}, "parameters.content_type"),
    (OIP, {"inputs": [GOOD], "parameters": {"content_type": "pd"}}, "inputs[0].shape"),
    (OIP, {"inputs": [GOOD | {"parameters": {"content_type": "str"}}]}, "inputs[0].data"),
    (OIP, {"inputs": [GOOD], "outputs": [{"name": "no"}]}, "outputs[0].name"),
    (V1, {}, ""),
    (V1, [], ""),
    (V1, {"instances": []}, "instances"),
    (V1, {"instances": 3}, "instances"),
    (V1, {"instances": [[1, 2]]}, "instances[0]"),
    (V1, {"instances": [[1, 2, 3], [1, "x", 3]]}, "instances[1][1]"),
    (V1, {"instances": [{"a": 1, "b": 2, "d": 3}]}, "instances"),
    (V1, {"instances": [{"a": 1, "b": 2, "c": {"b64": "AAAA"}}]}, "instances[0].c"),
    (V1, {"instances": [{"a": 1, "b": 2, "c": {"b64": "?"}}]}, "instances[0].c.b64"),
    (V1, {"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}, ""),
    (V1, {"instances": [[1, 2, 3]], "signature_name": "other"}, "signature_name"),
    (V1, {"instances": [[1, 2, 3]], "parameters": {"x": []}}, "parameters.x"),
    (V1, {"inputs": [[1, 2]]}, "inputs"),
    (V1, {"inputs": {"input": [[1, 2, 3], [4, 5]]}}, "inputs.input[1]"),
    (V1, {"inputs": {"a": [1], "b": [2, 3], "c": [4]}}, "inputs.b"),
    (V1, {"inputs": {}}, "inputs"),
    ("/v1/models/table:regress", {"examples": [{"a": 1, "b": 2, "c": 3}]}, ""),
    ("/v1/models/table:classify", {"examples": [1]}, "examples[0]"),
    ("/v1/models/table:classify", {"examples": [], "context": 1}, "context"),
    (AI, {}, "X"),
    (AI, {"X": [{"a": 1, "b": 2}]}, "X"),
    (AI, {"X": [{"a": 1, "b": 2, "c": 3}], "filter": ["nope"]}, "filter[0]"),
    (AI, {"X": [{"a": 1, "b": 2, "c": 3}], "filter": "label"}, "filter"),
    (ROWS, {"args": {"Y": []}}, "args"),
    (ROWS, [{"a": 1, "b": 2, "c": "x"}], "[0].c"),
    (MLFLOW, {}, ""),
    (MLFLOW, {"dataframe_split": [1]}, "dataframe_split"),
    (MLFLOW, {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2]]}}, "dataframe_split.data[0]"),
    (MLFLOW, {"dataframe_records": [{"a": 1}]}, "dataframe_records"),
    (MLFLOW, {"dataframe_records": {}}, "dataframe_records"),
    (MLFLOW, {"instances": [[1, 2, None], [1, 2, "x"]]}, "instances[1][2]"),
    (MLFLOW, {"inputs": [[1, 2, 3]], "instances": [[1, 2, 3]]}, ""),
    (MLFLOW, {"instances": [[1, 2, 3]], "params": {"x": [1]}}, "params.x"),
]
TEXT_MISTAKES: list[tuple[str, Any, str]] = [
    (GENERATE, {}, "text_input"),
    (GENERATE, {"text_input": 5}, "text_input[0]"),
    (GENERATE, {"text_input": "a", "temperature": 1}, "temperature"),
    (GENERATE, {"text_input": "a", "parameters": {"x": {}}}, "parameters.x"),
    (GENERATE, {"text_input": "a", "id": 3}, "id"),
    (STREAM, {"text_input": [["a"]]}, "text_input"),
    (CHAT, {"messages": SAID}, "model"),
    (CHAT, {"model": "shouter"}, "messages"),
    (CHAT, {"model": "shouter", "messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    (CHAT, {"model": "shouter", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    (CHAT, {"model": "shouter", "messages": SAID, "n": 2}, "n"),
    (CHAT, {"model": "shouter", "messages": SAID, "tools": [{}]}, "tools"),
    (CHAT, {"model": "shouter", "messages": SAID, "temperature": "hot"}, "temperature"),
    (CHAT, {"model": "shouter", "messages": SAID, "stream": 1}, "stream"),
    (CHAT, {"model": "shouter", "messages": SAID, "no_such_option": 1}, "no_such_option"),
    (TEXT, {"model": "shouter", "prompt": ["a", "b"]}, "prompt"),
    (TEXT, {"model": "shouter", "prompt": [[1, 2]]}, "prompt"),
    (EMBEDDINGS, {"model": "shouter", "input": "a"}, "model"),
]
VECTOR_MISTAKES: list[tuple[str, Any, str]] = [
    (EMBEDDINGS, {"model": "vectors"}, "input"),
    (EMBEDDINGS, {"model": "vectors", "input": []}, "input"),
    (EMBEDDINGS, {"model": "vectors", "input": [[1, 2]]}, "input"),
    (EMBEDDINGS, {"model": "vectors", "input": ["a", ""]}, "input[1]"),
    (EMBEDDINGS, {"model": "vectors", "input": "a", "encoding_format": "hex"}, "encoding_format"),
    (EMBEDDINGS, {"model": "vectors", "input": "a", "dimensions": 2}, "dimensions"),
    (CHAT, {"model": "vectors", "messages": SAID}, "model"),
]


def message_of(path: str, answer: Any) -> str:
    """The error's text, where the clients of a path look for it."""
    if path.startswith(("/openai/", "/v1/chat", "/v1/completions", "/v1/embeddings")):
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        return str(answer["error"]["message"])
    if path == MLFLOW:
        assert answer["error_code"]
        return str(answer["message"])
    return str(answer["error"])


def refused(running: Replica, path: str, body: Any, *, status: int = 400) -> Any:
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    answer = running.call("POST", path, content, {"Content-Type": "application/json"})
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), answer.body
    assert message_of(path, answer.json)
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    return answer.json


@pytest.mark.parametrize(("path", "body", "place"), TABLE_MISTAKES)
def test_a_mistake_about_a_table_is_named_with_its_place(
    table: Replica, path: str, body: Any, place: str
) -> None:
    assert refused(table, path, body).get("path", "") == place


@pytest.mark.parametrize(("path", "body", "place"), TEXT_MISTAKES)
def test_a_mistake_about_a_text_is_named_with_its_place(
    shouter: Replica, path: str, body: Any, place: str
) -> None:
    assert refused(shouter, path, body).get("path", "") == place


@pytest.mark.parametrize(("path", "body", "place"), VECTOR_MISTAKES)
def test_a_mistake_about_embeddings_is_named_with_its_place(
    vectors: Replica, path: str, body: Any, place: str
) -> None:
    assert refused(vectors, path, body).get("path", "") == place


PATHS = (
    OIP,
    V1,
    MLFLOW,
    AI,
    ROWS,
    CHAT,
    TEXT,
    EMBEDDINGS,
    "/v1/models/table:classify",
    "/v2/models/table/generate",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        '"text"',
        "[" * 100_000,
        b"\xff\xfe",
        '{"a":1e999}',
        '{"inputs":' + "[" * 900 + "]" * 900 + "}",
    ],
)
def test_what_is_no_request_at_all_is_refused_in_every_dialect(table: Replica, path: str, body: Any) -> None:
    refused(table, path, body)


@pytest.mark.parametrize("path", PATHS)
def test_bodies_are_bounded_before_they_are_read(echo: Replica, path: str) -> None:
    answer = echo.call("POST", path, b" " * ((4 << 20) + 1))
    assert (answer.status, answer.headers["content-type"]) == (413, "application/json")
    assert "largest" not in message_of(path, answer.json)
    assert "larger than" in message_of(path, answer.json)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/none:predict", 404),
        ("GET", "/v1/models/none", 404),
        ("GET", "/v1/models/table/versions/9", 404),
        ("GET", "/v1/models/table/labels/none", 404),
        ("POST", "/v1/models/table:unknown", 404),
        ("POST", "/v1/models/table:explain", 501),
        ("GET", "/v1/models/table:predict", 405),
        ("GET", "/invocations", 405),
        ("DELETE", "/v1/models/table", 405),
        ("GET", "/openai/v1/models/none", 404),
        ("GET", "/openai/nothing", 404),
        ("GET", "/v1/embeddings", 405),
    ],
)
def test_wrong_paths_and_verbs_are_errors_of_their_dialect(
    table: Replica, method: str, path: str, status: int
) -> None:
    answer = table.call(method, path, "{}" if method == "POST" else None)
    assert answer.status == status
    assert message_of(path, answer.json)


def test_an_unknown_model_is_a_404_that_names_those_that_are_there(shouter: Replica) -> None:
    body = {"model": "gpt-5", "messages": SAID}
    answer = refused(shouter, CHAT, body, status=404)
    assert answer["error"]["message"] == 'unknown model "gpt-5"; this replica serves "shouter"'
    assert answer["error"]["type"] == "not_found_error"


def test_content_types_that_are_not_offered_are_named(table: Replica) -> None:
    answer = table.call("POST", MLFLOW, b"PAR1", {"Content-Type": "application/x-parquet"})
    assert (answer.status, answer.json["error_code"]) == (415, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ""),
        ("a,b,c", "data"),
        ("a,b,c\n1,2", "data[0]"),
        ("a,b,c\n1,2,x", "data[0][2]"),
        ("a,b,b\n1,2,3", "columns"),
        ("a,b,d\n1,2,3", ""),
        ("1,2\n", "data[0]"),
        ('a,b,c\n1,2,"3', ""),
        (b"a,b,c\n1,2,\xff", ""),
    ],
)
def test_a_mistake_in_csv_is_named_with_line_and_column(table: Replica, text: Any, place: str) -> None:
    answer = table.call("POST", MLFLOW, text, {"Content-Type": "text/csv"})
    assert (answer.status, answer.json.get("path", "")) == (400, place), answer.body
