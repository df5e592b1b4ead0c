"""Workers with a Java machine each answer many clients at once, and one that dies takes nobody along."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.serving.replicas import Answer, Replica, replica
from tests.support import pmml
from tests.support.models import IRIS_NAMES, IRIS_ROW


def ask(running: Replica) -> Answer:
    tensors = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
        for name, value in zip(IRIS_NAMES, IRIS_ROW, strict=True)
    ]
    return running.call("POST", "/v2/models/echo/infer", json.dumps({"inputs": tensors}))


def outputs(answer: Answer) -> dict[str, Any]:
    return {each["name"]: each["data"] for each in answer.json["outputs"]}


def workers(running: Replica) -> list[int]:
    return [each["pid"] for each in running.state.get("workers", ())]


def test_workers_with_java_answer_many_threads_and_outlive_one_that_dies(tmp_path: Path) -> None:
    model = pmml.pmml_classifier(tmp_path / "m")
    columns = [{"name": name, "datatype": "FP64", "shape": [-1]} for name in IRIS_NAMES]
    worker = {"count": 2, "config": model.config(), "load_timeout_seconds": 60, "hang_timeout_seconds": 20}
    with replica(worker=worker, signature={"inputs": columns, "outputs": []}) as running:
        running.wait_for(lambda: len(workers(running)) == 2 and ask(running).status == 200, 60)
        children = psutil.Process(running.process.pid).children(recursive=True)
        assert not [each for each in children if "java" in each.name()]
        before = workers(running)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, running) for _ in range(100)]
            os.kill(before[0], signal.SIGSEGV)
            answers = [each.result() for each in asked]
        # At most what was inside the dying worker fails, and with a reason.
        failed = [answer for answer in answers if answer.status != 200]
        assert len(failed) <= 8
        assert all(answer.json.get("reason") == "WorkerCrashed" for answer in failed)
        for answer in answers:
            if answer.status == 200:
                found = outputs(answer)
                assert found["species"] == ["setosa"]
                assert found["p_setosa"] == pytest.approx(model.expected["p_setosa"])
        running.wait_for(lambda: before[0] not in workers(running) and len(workers(running)) == 2, 60)
        assert [ask(running).status for _ in range(20)] == [200] * 20
        assert running.state["worker_restarts"] == 1
