"""Models that yield their answer, as events in each dialect."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from tests.serving.replicas import replica

CODE = """
import time
def predict(inputs):
    text = inputs["text_input"].ravel()[0]
    text = text.decode() if isinstance(text, bytes) else text
    if text == "nothing":
        return
    for word in text.split():
        if word == "boom":
            raise RuntimeError("no such luck")
        yield {"text_output": [word.upper() + " "]}
        time.sleep(0.2)
"""
SIGNATURE: dict[str, Any] = {
    "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [-1]}],
    "outputs": [{"name": "text_output", "datatype": "BYTES", "shape": [-1]}],
}


def test_a_model_that_yields_sends_an_event_for_each_part_when_it_is_there() -> None:
    with replica(code=CODE, signature=SIGNATURE, listen="tcp") as running:
        body = json.dumps({"model": "echo", "prompt": "a b c", "stream": True})
        with contextlib.closing(running.connection()) as connection:
            begun = time.monotonic()
            connection.request("POST", "/v1/completions", body)
            response = connection.getresponse()
            first = response.readline()
            early = time.monotonic() - begun
            rest = response.read()
            whole = time.monotonic() - begun
        assert b'"text":"A "' in first
        assert early < whole - 0.3
        assert rest.count(b"data: ") == 4
        assert rest.endswith(b"data: [DONE]\n\n")
        answer = running.call("POST", "/v2/models/echo/generate_stream", '{"text_input": "a b"}')
        assert [
            json.loads(e.removeprefix("data: "))["text_output"]
            for e in answer.body.decode().split("\n\n")
            if e
        ] == ["A ", "B "]
        answer = running.call("POST", "/v2/models/echo/generate_stream", '{"text_input": "a boom"}')
        assert answer.status == 200
        *_, last = [e for e in answer.body.decode().split("\n\n") if e]
        assert "no such luck" in json.loads(last.removeprefix("data: "))["error"]
        empty = running.call(
            "POST", "/v1/completions", json.dumps({"model": "echo", "prompt": "nothing", "stream": True})
        )
        assert (empty.status, empty.body.endswith(b"data: [DONE]\n\n")) == (200, True)
        whole_answer = running.call("POST", "/v1/completions", json.dumps({"model": "echo", "prompt": "a b"}))
        assert whole_answer.json["choices"][0]["text"] == "A B "
