"""Models of text as OpenAI's clients ask them: embeddings, completions, chat."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.serving.replicas import Replica, replica
from tests.serving.served import TABLE


def events(body: bytes) -> list[str]:
    assert body.endswith(b"\n\n")
    return [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]


@pytest.mark.parametrize("base", ["/v1", "/openai/v1"])
def test_texts_become_vectors(vectors: Replica, base: str) -> None:
    ask: dict[str, Any] = {"model": "vectors", "input": ["a word", "three more words"]}
    answer = vectors.call("POST", f"{base}/embeddings", json.dumps(ask)).json
    assert [each["embedding"] for each in answer["data"]] == [[6.0, 0.5, -1.0], [16.0, 0.5, -1.0]]
    assert [(each["index"], each["object"]) for each in answer["data"]] == [
        (0, "embedding"),
        (1, "embedding"),
    ]
    assert answer["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert (answer["object"], answer["model"]) == ("list", "vectors")
    ask |= {"encoding_format": "base64", "dimensions": 3, "input": "a"}
    answer = vectors.call("POST", f"{base}/embeddings", json.dumps(ask)).json
    packed = base64.b64decode(answer["data"][0]["embedding"])
    assert np.frombuffer(packed, "<f4").tolist() == [1.0, 0.5, -1.0]


def test_usage_is_what_the_model_counts_when_it_does() -> None:
    signature = {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "vector", "datatype": "FP64", "shape": [-1, 2]}],
    }
    code = "def predict(inputs): return {'vector': [[1.0, 2.0]], 'tokens': [42]}"
    with replica(code=code, signature=signature, task="feature-extraction") as running:
        ask = '{"model": "echo", "input": "a"}'
        answer = running.call("POST", "/v1/embeddings", ask).json
        assert answer["data"][0]["embedding"] == [1.0, 2.0]
        assert answer["usage"]["prompt_tokens"] == 42
        assert running.call("GET", "/v1/models/echo").json["capabilities"] == ["embeddings"]


def test_a_conversation_is_answered(shouter: Replica) -> None:
    ask: dict[str, Any] = {"model": "shouter", "messages": [{"role": "user", "content": "hello you"}]}
    answer = shouter.call("POST", "/v1/chat/completions", json.dumps(ask)).json
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": "HELLO YOU"}
    assert choice["finish_reason"] == "stop"
    assert answer["object"] == "chat.completion"
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    ask["messages"].insert(0, {"role": "system", "content": [{"type": "text", "text": "be kind"}]})
    answer = shouter.call("POST", "/openai/v1/chat/completions", json.dumps(ask)).json
    assert answer["choices"][0]["message"]["content"] == "SYSTEM: BE KIND\nUSER: HELLO YOU\nASSISTANT:"


def test_a_text_is_completed(shouter: Replica) -> None:
    ask = {"model": "shouter", "prompt": "hello", "max_tokens": 5, "stop": ["x"]}
    answer = shouter.call("POST", "/v1/completions", json.dumps(ask)).json
    assert (answer["object"], answer["choices"][0]["text"]) == ("text_completion", "HELLO")


def test_a_stream_ends_with_the_reason_the_usage_and_done(shouter: Replica) -> None:
    ask = {
        "model": "shouter",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = shouter.call("POST", "/v1/chat/completions", json.dumps(ask))
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, done = events(answer.body)
    assert done == "[DONE]"
    first, last, usage = map(json.loads, chunks)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "HELLO"}
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 2
    assert len({chunk["id"] for chunk in (first, last, usage)}) == 1


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "h2c"])
def test_events_and_refusals_are_the_same_on_both_kinds_of_http(shouter: Replica, http2: bool) -> None:
    url = f"http://127.0.0.1:{shouter.port}/v1/completions"
    with httpx2.Client(http1=not http2, http2=http2, trust_env=False, timeout=20) as client:
        answer = client.post(url, json={"model": "shouter", "prompt": "hello", "stream": True})
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        first, last, done = events(answer.content)
        assert json.loads(first)["choices"][0]["text"] == "HELLO"
        assert (json.loads(last)["choices"][0]["finish_reason"], done) == ("stop", "[DONE]")
        refused = client.post(url, json={"model": "shouter", "prompt": 5, "stream": True})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")


def test_errors_of_the_model_before_the_first_part_have_their_status() -> None:
    code = "def predict(inputs): raise RuntimeError('no such luck')"
    signature = {
        "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "text_output", "datatype": "BYTES", "shape": [-1]}],
    }
    with replica(code=code, signature=signature) as running:
        ask = {"model": "echo", "prompt": "x", "stream": True}
        answer = running.call("POST", "/v1/completions", json.dumps(ask))
        assert (answer.status, answer.json["error"]["type"]) == (500, "server_error")
        assert "no such luck" in answer.json["error"]["message"]
        plain = running.call("POST", "/v2/models/echo/generate_stream", '{"text_input": "x"}')
        assert (plain.status, "no such luck" in plain.json["error"]) == (500, True)


def test_models_of_tables_are_listed_without_capabilities() -> None:
    with replica(signature=TABLE) as running:
        (listed,) = running.call("GET", "/openai/v1/models").json["data"]
        assert (listed["id"], listed["capabilities"]) == ("echo", [])
        assert running.call("GET", "/openai/v1/models/echo").json["object"] == "model"


def test_compressed_requests_that_name_their_model(vectors: Replica) -> None:
    texts = [str(number) * 50 for number in range(400)]
    body = json.dumps({"model": "vectors", "input": texts}).encode()
    packed = gzip.compress(body, 0)
    assert len(packed) > 4096, "large enough to be inflated in a thread"
    for content in (packed, gzip.compress(b'{"model": "vectors", "input": "a"}')):
        answer = vectors.call("POST", "/v1/embeddings", content, {"Content-Encoding": "gzip"})
        assert answer.status == 200, answer.body
    for content, status in ((packed[:-9], 400), (gzip.compress(bytes(70 << 20)), 413), (b"x" * 9000, 400)):
        refused = vectors.call("POST", "/v1/embeddings", content, {"Content-Encoding": "gzip"})
        assert refused.status == status
        assert refused.json["error"]["message"]


def test_no_texts_are_no_texts_back(shouter: Replica) -> None:
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [0], "data": []}
    answer = shouter.call("POST", "/v2/models/shouter/infer", json.dumps({"inputs": [tensor]}))
    assert (answer.status, answer.json["outputs"][0]["data"]) == (200, [])
