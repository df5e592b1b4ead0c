"""Uploads that are damaged, dangerous or cut: refused before anything runs, and nothing of them stays."""

from __future__ import annotations

import io
import os
import pickle
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard
from modelyard import Client
from tests.support import models
from tests.support.command import modelyard as command
from tests.support.command import until
from tests.support.platform import Running

MIB = 1 << 20


@pytest.fixture(scope="module")
def client(platform: Running) -> Iterator[Client]:
    with platform.client() as client:
        yield client


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def test_a_pickle_that_would_run_code_is_refused_before_it_does(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Evil(canary)))
    said = command(platform, "publish", str(path), "--name", "evil", "--format", "sklearn", code=4)
    assert "UnsafeContent" in said.err
    assert "system" in said.err
    assert not canary.exists()
    nothing_is_left(client, "evil")


def test_a_sound_estimator_with_a_trap_inside_is_refused_and_says_how_to_go_on(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    import joblib
    from sklearn.linear_model import LogisticRegression

    x, y = models.iris()
    model = LogisticRegression(max_iter=500).fit(x, y)
    model.trap = Evil(tmp_path / "canary")
    joblib.dump(model, tmp_path / "model.joblib")
    said = command(platform, "publish", str(tmp_path / "model.joblib"), "--name", "trap", code=4)
    assert "UnsafeContent" in said.err
    assert "skops or ONNX" in said.err
    assert not (tmp_path / "canary").exists()
    nothing_is_left(client, "trap")


def test_a_project_decides_how_far_it_trusts_pickles(platform: Running, tmp_path: Path) -> None:
    written = models.sklearn_classifier(tmp_path / "m")
    command(platform, "project", "create", "wary", "--trust", "never")
    with platform.client(project="wary") as wary, pytest.raises(modelyard.Refused, match="trust is `never`"):
        wary.publish(written.directory, "m")


def test_a_truncated_onnx_file_is_refused_with_the_reason(
    platform: Running, client: Client, tmp_path: Path
) -> None:
    written = models.onnx_sum(tmp_path / "m", broken=True)
    said = command(platform, "publish", str(written.directory / "model.onnx"), "--name", "cut", code=4)
    assert "model.onnx" in said.err
    assert "ends too early" in said.err or "cut" in said.err or "truncated" in said.err
    nothing_is_left(client, "cut")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.onnx", b"<html>not a model</html>"),
        ("model.json", b'{"learner": '),
        ("model.joblib", b"\x80\x05garbage"),
        ("model.txt", b"tree\nversion=v4\n"),
        ("model.skops", b"PK\x03\x04 not a zip"),
        ("model.bin", b"\0" * 1000),
        ("model.py", b"def predict(:\n"),
        ("empty.onnx", b""),
    ],
)
def test_what_is_not_a_model_is_refused_and_says_so(
    client: Client, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((modelyard.Refused, modelyard.Invalid), match=name):
        client.publish(tmp_path / name, "nothing")
    nothing_is_left(client, "nothing")


@pytest.mark.parametrize("kind", ["parent", "absolute", "link", "device"])
def test_an_archive_that_reaches_out_of_itself_is_refused(client: Client, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo({"parent": "../../escaped", "absolute": "/tmp/escaped"}.get(kind, "model.py"))
        if kind == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        elif kind == "device":
            entry.type = tarfile.CHRTYPE
        entry.size = 0 if kind in ("link", "device") else 4
        tar.addfile(entry, io.BytesIO(b"evil"))
    with pytest.raises((modelyard.Refused, modelyard.Invalid)) as error:
        client.publish(archive, "escaped")
    assert entry.name.split("/")[-1] in str(error.value)
    assert not Path("/tmp/escaped").exists()
    nothing_is_left(client, "escaped")


def test_an_upload_cut_in_the_middle_leaves_nothing(platform: Running, client: Client) -> None:
    staged = platform.home / "artifacts"
    before = stored(staged)
    head = (
        b'--b\r\ncontent-disposition: form-data; name="spec"\r\n\r\n{"name": "half"}\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="model.onnx"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", platform.port), timeout=60) as raw:
        raw.sendall(
            b"POST /api/v1/projects/default/models HTTP/1.1\r\nhost: x\r\n"
            b"content-type: multipart/form-data; boundary=b\r\n"
            + f"authorization: Bearer {client.connection.token}\r\n".encode()
            + f"content-length: {5 << 30}\r\n\r\n".encode()
            + head
        )
        for _ in range(300):
            raw.sendall(b"x" * MIB)
        until(lambda: stored(staged) > before + 100 * MIB, "it is on its way to the disk")
    until(lambda: stored(staged) == before, "what had come is removed")
    nothing_is_left(client, "half")


def test_an_upload_beyond_the_limit_is_refused_while_it_comes(tmp_path: Path) -> None:
    running = Running(tmp_path / "home", settings='[limits]\nupload = "1Mi"\n').start()
    try:
        (tmp_path / "model.onnx").write_bytes(b"x" * 5 * MIB)
        with running.client() as client, pytest.raises(modelyard.TooLarge, match=r"limits\.upload"):
            client.publish(tmp_path / "model.onnx", "large")
    finally:
        running.stop()


def nothing_is_left(client: Client, name: str) -> None:
    assert name not in {model.name for model in client.models.list()}


def stored(directory: Path) -> int:
    """Bytes of all files below a directory that others change."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
