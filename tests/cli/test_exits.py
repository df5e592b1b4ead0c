"""Exit codes: what a script learns without reading a word."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.domain.deployment import Failure
from tests.cli.conftest import Run
from tests.support.faces import Live


def test_1_for_what_the_system_does_not_allow(run: Run, published: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    done = run("model", "download", published, "taken/out", code=1)
    assert done.err.startswith("error: taken/out: ")


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        "deploy",
        "deploy x",
        "deploy x --name",
        "deploy x --name a --replicas b",
        "deploy x --name a --nothing",
        "deploy x --name a --timeout soon",
        "deploy x --name a --cpu -1",
        "deploy x --name a --gpu half",
        "deploy x --name a --env A",
        "deploy X@ --name a",
        "status -o xml",
        "status -o",
        "publish nothing.onnx --name a",
        "publish model.py --name A",
        "publish model.py",
        "token create --scope fly",
        "project members default --set ana=king",
        "project create a --trust some",
        "project create a --quota cores=8",
        "project quota default --set gpus=some",
        "project network default --isolated --allow-project default",
        "project network default --isolated --allow-project nobody",
        "project network default --isolated --allow-namespace Not_One",
        "project network default --allow-namespace monitoring",
        "project network default --deny-namespace monitoring",
        "render test a@1 --url nowhere",
        "render test a@1 --url http://a --schedule often",
        "predict a@nostage -d []",
        "login",
        "scale a",
        "test a@1 -d {",
        "config shown",
        "up --port many",
    ],
)
def test_2_for_a_wrong_command_line(run: Run, source: Path, line: str) -> None:
    done = run(*line.split(), code=2)
    assert done.out == ""
    assert done.err.startswith("error: "), done.err


def test_3_for_what_is_not_there(run: Run) -> None:
    for line in (
        "status x",
        "logs x",
        "test x@1",
        "deploy x@1 --name x",
        "model show x",
        "undeploy x",
        "runtime show x",
        "project show x",
        "user delete x",
    ):
        assert run(*line.split(), code=3).err.startswith("error: ")


def test_4_for_a_model_that_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "harm.pkl").write_bytes(pickle.dumps(os.getcwd))
    assert "getcwd" in run("publish", "harm.pkl", "--name", "harm", code=4).err
    assert "getcwd" in run("validate", "harm.pkl", code=4).err


def test_5_for_waiting_that_ended_first(run: Run, published: str, installation: Live) -> None:
    backend = installation.faces.backend
    before, backend.load = (
        backend.load,
        lambda launch: Failure(reason="OutOfMemory", message="needs 3Gi, has 1Gi"),
    )
    try:
        done = run("deploy", published, "--name", "sums", "--timeout", "1s", code=5)
        assert "not ready after 1 s" in done.err
        assert "sums" in run("explain", "sums").out
    finally:
        backend.load = before


def test_6_for_what_is_not_permitted(run: Run, installation: Live) -> None:
    secret = run("token", "create", "--scope", "infer").out.strip()
    run("status", "--token", secret, code=6)
    run("status", "--token", "myu_wrong", code=6)


def test_7_for_a_conflict(run: Run, published: str) -> None:
    run("deploy", published, "--name", "sums", "--replicas", "0")
    assert "undeploy" in run("model", "delete", published, code=7).err
    run("deployment", "copy", "sums", "sums", code=7)


def test_8_when_nobody_is_there(run: Run) -> None:
    assert "modelyard up" in run("status", "--server", "http://127.0.0.1:1", code=8).err
    assert run("status", "--server", "nonsense", code=8).err.startswith("error: ")


def test_130_when_it_is_interrupted(run: Run, published: str, installation: Live) -> None:
    run("deploy", published, "--name", "sums")
    environ = {**os.environ, "MODELYARD_URL": installation.url, "MODELYARD_TOKEN": installation.token}
    command = [sys.executable, "-m", "modelyard", "logs", "sums", "-f", "--tail", "1"]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_0_when_the_reader_goes_away_first(run: Run, installation: Live) -> None:
    environ = {**os.environ, "MODELYARD_URL": installation.url, "MODELYARD_TOKEN": installation.token}
    command = f"{sys.executable} -m modelyard project list -o json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""


def test_help_is_no_error_and_names_the_exit_codes_page(run: Run) -> None:
    assert "deploy" in run("--help").out
    assert "--replicas" in run("deploy", "-h").out
