"""What people upload: models, things that are none, and things that are meant to do harm."""

from __future__ import annotations

import asyncio
import io
import pickle
import tarfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.api.requests import MODELS, SIGNATURE, SOURCE, multipart, publish, require_problem
from tests.support.faces import UPLOAD_BYTES


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch /tmp/modelyard-was-here",)


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def link(name: str, kind: bytes, target: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def bomb() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.py", b"\0" * 200_000_000)
    return target.getvalue()


async def test_a_published_version_says_what_it_is(admin: httpx2.AsyncClient) -> None:
    response = await publish(admin, description="doubles", metrics={"auc": 0.9}, label="v1.0")
    assert response.status_code == 201
    version = response.json()
    assert version["version"] == "1"
    assert version["artifacts"][0]["format"] == "python"
    assert version["artifacts"][0]["signature"]["sample"] == {"x": [[1.0, 2.0]]}
    assert version["metrics"] == {"auc": 0.9}
    assert version["created_by"] == "admin"
    for selector in ("1", "latest", "v1.0"):
        assert (await admin.get(f"{MODELS}/churn/versions/{selector}")).json() == version


async def test_the_same_training_run_again_updates_its_version(admin: httpx2.AsyncClient) -> None:
    assert (await publish(admin, source_run="run-1")).status_code == 201
    again = await publish(admin, source_run="run-1", description="better words")
    assert again.status_code == 200
    assert again.json()["version"] == "1"
    assert again.json()["description"] == "better words"
    assert (await publish(admin, source_run="run-2")).json()["version"] == "2"


async def test_downloads_give_back_what_was_uploaded(admin: httpx2.AsyncClient) -> None:
    files = {"model.py": SOURCE, "data/words ü.txt": b"one\ntwo\n"}
    assert (await publish(admin, files=files)).status_code == 201
    base = f"{MODELS}/churn/versions/1/artifacts/model"
    for path, content in files.items():
        response = await admin.get(f"{base}/files/{path}")
        assert response.content == content
        assert response.headers["content-length"] == str(len(content))
        assert response.headers["content-disposition"].startswith("attachment")
    with tarfile.open(fileobj=io.BytesIO((await admin.get(base)).content)) as archive:
        assert {m.name: archive.extractfile(m).read() for m in archive} == files  # type: ignore[union-attr]


async def test_an_archive_is_unpacked(admin: httpx2.AsyncClient) -> None:
    content = tar((tarfile.TarInfo("model.py"), SOURCE), (tarfile.TarInfo("words.txt"), b"a"))
    version = (await publish(admin, files={"model.tar.gz": content})).json()
    assert [file["path"] for file in version["artifacts"][0]["files"]] == ["model.py", "words.txt"]


@pytest.mark.parametrize(
    "content",
    [
        tar((tarfile.TarInfo("../model.py"), SOURCE)),
        tar((tarfile.TarInfo("/etc/model.py"), SOURCE)),
        tar((tarfile.TarInfo("model.py"), SOURCE), link("x", tarfile.SYMTYPE, "/etc/passwd")),
        tar((tarfile.TarInfo("model.py"), SOURCE), link("x", tarfile.LNKTYPE, "../../x")),
        tar((tarfile.TarInfo("model.py"), SOURCE), link("x", tarfile.FIFOTYPE, "")),
        b"not an archive",
        tar((tarfile.TarInfo("model.py"), SOURCE))[:-40],
        b"",
    ],
    ids=["parent", "absolute", "symlink", "hard link", "fifo", "none", "cut", "empty"],
)
async def test_a_hostile_or_broken_archive_is_refused(admin: httpx2.AsyncClient, content: bytes) -> None:
    require_problem(await publish(admin, files={"model.tar.gz": content}), 413, 422)
    assert (await admin.get(MODELS)).json()["items"] == []


async def test_a_zip_bomb_is_refused(admin: httpx2.AsyncClient) -> None:
    require_problem(await publish(admin, files={"model.zip": bomb()}), 413, 422)


@pytest.mark.parametrize(
    "path", ["../model.py", "/model.py", "a/../../model.py", "a\\..\\b", ".", "a" * 5000, "a//b"]
)
async def test_a_file_name_that_leads_elsewhere_is_refused(admin: httpx2.AsyncClient, path: str) -> None:
    require_problem(await publish(admin, files={path: SOURCE}), 422)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.onnx", b"\x08\x07\x12\x05"),
        ("model.onnx", b"garbage" * 100),
        ("model.joblib", b"\x80\x04\x95"),
        ("model.json", b'{"learner": {'),
        ("model.json", b"{}"),
        ("model.ubj", b"{L"),
        ("model.txt", b"tree\nversion=v4\n"),
        ("model.py", b"def predict(:\n"),
        ("model.py", b"x = 1\n"),
        (
            "model.pmml",
            b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><PMML>&a;</PMML>',
        ),
        ("model.skops", b"PK\x03\x04"),
        ("picture.png", b"\x89PNG\r\n"),
        ("empty.bin", b""),
    ],
)
async def test_what_is_not_a_whole_model_is_refused_and_leaves_nothing(
    admin: httpx2.AsyncClient, name: str, content: bytes
) -> None:
    body = require_problem(await publish(admin, files={name: content}), 422)
    assert "root:" not in body["detail"]
    assert (await admin.get(MODELS)).json()["items"] == []


async def test_a_pickle_that_would_run_code_is_refused_with_the_name_of_it(admin: httpx2.AsyncClient) -> None:
    body = require_problem(await publish(admin, files={"model.pkl": pickle.dumps(Harm())}), 422)
    assert body["code"] == "refused"
    assert "system" in body["detail"]
    assert not Path("/tmp/modelyard-was-here").exists()


async def test_an_upload_that_is_cut_in_the_middle_leaves_nothing(
    admin: httpx2.AsyncClient, tmp_path: Path
) -> None:
    whole = httpx2.Request(
        "POST", "http://x/", files=multipart({"name": "churn"}, {"model.py": SOURCE * 100})
    )
    content = whole.read()

    async def cut() -> AsyncIterator[bytes]:
        yield content[: len(content) // 2]

    headers = {"content-type": whole.headers["content-type"]}
    body = require_problem(await admin.post(MODELS, content=cut(), headers=headers), 422)
    assert "send it again" in body["detail"]
    assert (await admin.get(MODELS)).json()["items"] == []
    left = [p for p in (tmp_path / "home" / "artifacts").rglob("*") if p.is_file()]
    assert [p.name for p in left] == ["lock"]


async def test_an_upload_larger_than_the_limit_is_refused(admin: httpx2.AsyncClient) -> None:
    body = require_problem(await publish(admin, files={"model.bin": b"x" * (UPLOAD_BYTES + 1)}), 413)
    assert "limits.upload" in body["detail"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"nothing like it"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n{}\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n{}\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n{}\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: " + b"y" * 3_000_000),
        (f"multipart/form-data; boundary={'b' * 5000}", b""),
    ],
)  # fmt: skip
async def test_what_is_no_multipart_request_is_refused(
    admin: httpx2.AsyncClient, kind: str, content: bytes
) -> None:
    require_problem(await admin.post(MODELS, content=content, headers={"content-type": kind}), 422)


async def test_parts_in_the_wrong_order_or_of_the_wrong_name_are_refused(admin: httpx2.AsyncClient) -> None:
    spec, file = multipart({"name": "churn", "signature": SIGNATURE}, {"model.py": SOURCE})
    require_problem(await admin.post(MODELS, files=[file, spec]), 422, path="spec")
    require_problem(await admin.post(MODELS, files=[spec]), 422)
    require_problem(await admin.post(MODELS, files=[spec, ("other", file[1])]), 422, path="other")
    require_problem(await admin.post(MODELS, files=[spec, ("file", (None, b"x"))]), 422, path="file")
    require_problem(await admin.post(MODELS, files=[spec, file, file]), 409, 422)


async def test_several_models_in_one_version_are_kept_apart(admin: httpx2.AsyncClient) -> None:
    files = {"a/model.py": SOURCE, "b/model.py": SOURCE}
    version = (await publish(admin, files=files, artifacts={"one": "a", "two": "b"})).json()
    assert [a["name"] for a in version["artifacts"]] == ["one", "two"]
    for folder in ("../a", "/a", "c", "a/model.py"):
        require_problem(await publish(admin, files=files, artifacts={"one": folder}), 422, path="artifacts")


async def test_a_dry_run_checks_and_keeps_nothing(admin: httpx2.AsyncClient) -> None:
    response = await publish(admin, path=f"{MODELS}?dry_run=true")
    assert response.status_code == 200
    assert response.json()["artifacts"][0]["format"] == "python"
    assert response.json()["version"] == ""
    assert (await admin.get(MODELS)).json()["items"] == []
    require_problem(
        await publish(admin, files={"m.pkl": pickle.dumps(Harm())}, path=f"{MODELS}?dry_run=true"), 422
    )


async def test_many_may_publish_source_code_at_once(admin: httpx2.AsyncClient) -> None:
    lines = b"".join(b"def f%d(a, b=(1, [2])):\n    return {1: [a, (a + b) * 2]}\n" % n for n in range(2000))
    calls = [
        publish(admin, f"m{n}", files={"model.py": lines + SOURCE + b"# %d" % n}, signature=SIGNATURE)
        for n in range(8)
    ]
    assert {response.status_code for response in await asyncio.gather(*calls)} == {201}
