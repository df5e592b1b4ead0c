"""Server-Timing: where a request's time went, stage by stage, and all of it."""

from __future__ import annotations

import re
import time

from tests.serving.replicas import Answer, infer_body, replica

SLOW = """
import time
class Model:
    def preprocess(self, inputs):
        time.sleep(0.1)
        return inputs
    def predict(self, inputs):
        time.sleep(0.2)
        return {"output": inputs["input"]}
"""
STAGES = ["parse", "queue", "batch", "ipc", "preprocess", "infer", "serialize", "total"]
SPAN = re.compile(r"([a-z]+);dur=([0-9]+\.[0-9]{3})")


def spans(answer: Answer) -> dict[str, float]:
    parts = answer.headers["server-timing"].split(", ")
    matches = [SPAN.fullmatch(part) for part in parts]
    assert all(matches), parts
    return {match[1]: float(match[2]) for match in matches if match}


def test_the_stages_are_all_of_the_time() -> None:
    with replica(code=SLOW) as running:
        for _ in range(3):
            begun = time.monotonic()
            answer = running.infer(1, 2)
            wall = (time.monotonic() - begun) * 1e3
            found = spans(answer)
            assert list(found) == STAGES
            total = found.pop("total")
            assert abs(sum(found.values()) - total) < 0.01
            assert 100 <= found["preprocess"] < 200
            assert 200 <= found["infer"] < 300
            # What the client sees besides is the connection's.
            assert total <= wall
            assert total > 0.95 * wall - 20
        text = running.call("GET", "/metrics").body.decode()
        for stage in STAGES[:-1]:
            line = next(
                line
                for line in text.splitlines()
                if line.startswith("modelyard_stage_duration_seconds_count{") and f'step="{stage}"' in line
            )
            assert line.endswith(" 3")
        assert text.count("# TYPE modelyard_stage_duration_seconds histogram") == 1


def test_a_priority_that_is_none_is_named() -> None:
    with replica() as running:
        for value, status in (("1", 200), ("9", 200), ("0", 200), ("10", 400), ("high", 400), ("-1", 400)):
            answer = running.infer(1, 2, headers={"X-Request-Priority": value})
            assert answer.status == status, value
            if status == 400:
                assert answer.json["path"] == "headers.X-Request-Priority"
        body = infer_body(1, 2).replace(b"{", b'{"parameters": {"priority": true}, ', 1)
        answer = running.call("POST", "/v2/models/echo/infer", body)
        assert (answer.status, answer.json["path"]) == (400, "parameters.priority")
