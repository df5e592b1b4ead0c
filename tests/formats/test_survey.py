"""What a pod tells of a volume: the files of a model, or why there is none that could be served."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.errors import Invalid, ModelyardError, Refused
from modelyard.formats import survey

CODE = "def predict(inputs):\n    return inputs\n"
TRUSTING = {"format": "", "trust": "full"}
CAREFUL = {"format": "", "trust": "never"}


def lay(root: Path) -> Path:
    """A model, and what lies beside it on a volume."""
    (root / "lost+found").mkdir(parents=True)
    (root / "weights").mkdir()
    (root / "model.py").write_text(CODE)
    (root / "weights/a.bin").write_bytes(b"\0" * 3_000_000)
    (root / "weights/b.bin").write_bytes(b"")
    return root


def test_files_and_what_they_are(tmp_path: Path) -> None:
    root = lay(tmp_path / "volume")
    found = survey.survey(root, TRUSTING)
    big = hashlib.sha256(b"\0" * 3_000_000).hexdigest()
    assert found["files"] == [
        {"path": "model.py", "size": len(CODE), "sha256": hashlib.sha256(CODE.encode()).hexdigest()},
        {"path": "weights/a.bin", "size": 3_000_000, "sha256": big},
        {"path": "weights/b.bin", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()},
    ]
    assert (found["detected"]["format"], found["detected"]["entry"]) == ("python", "model.py")


@pytest.mark.parametrize("path", ["model.py", "more.py"])
def test_what_was_another_file_while_it_was_scanned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    root = lay(tmp_path / "volume")
    scan = survey.scan

    def swapped(*given: Any, **more: Any) -> Any:
        before = (root / "model.py").stat()
        (root / path).write_text(CODE)  # as long, and as old
        os.utime(root / path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return scan(*given, **more)

    monkeypatch.setattr(survey, "scan", swapped)
    with pytest.raises(Refused, match=f"`{path}` was changed while it was read"):
        survey.survey(root, TRUSTING)


def test_what_goes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay(tmp_path / "volume")
    scan = survey.scan

    def without(*given: Any, **more: Any) -> Any:
        (root / "weights/a.bin").unlink()
        return scan(*given, **more)

    monkeypatch.setattr(survey, "scan", without)
    with pytest.raises(Refused, match=r"`weights/a\.bin` was changed while it was read"):
        survey.survey(root, TRUSTING)


def test_it_is_a_program_that_answers_as_tasks_do(tmp_path: Path) -> None:
    root = lay(tmp_path / "volume")
    (tmp_path / "worker.json").write_text(json.dumps({"path": str(root)}))
    (tmp_path / "request.json").write_text(json.dumps(TRUSTING))
    words = ["survey", "--config", "worker.json", "--request", "request.json", "--out", "out.json"]
    command = [sys.executable, "-m", "modelyard.formats.survey", *words]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(
        json.dumps(survey.answered(root, TRUSTING))
    )


def test_it_needs_nothing_that_an_image_for_serving_may_lack() -> None:
    code = (
        "import sys, modelyard.formats.survey\n"
        "print([each for each in ('pydantic', 'numpy', 'orjson', 'sqlalchemy') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def nothing(root: Path) -> None:
    root.mkdir()


def archive(root: Path) -> None:
    root.mkdir()
    (root / "model.tar.gz").write_bytes(b"x")


def pipeline(root: Path) -> None:
    lay(root)
    (root / "pipeline.yaml").write_text("steps: [{name: a}]\n")


def words(root: Path) -> None:
    root.mkdir()
    (root / "README").write_text("no model")


def leading_out(root: Path) -> None:
    lay(root)
    (root.parent / "blob").write_text("elsewhere")
    (root / "weights/c.bin").symlink_to("../../blob")


def looping(root: Path) -> None:
    lay(root)
    (root / "again").symlink_to("weights")


def piped(root: Path) -> None:
    lay(root)
    os.mkfifo(root / "weights/pipe")


def many(root: Path) -> None:
    lay(root)
    for number in range(6):
        (root / f"{number}.txt").write_text("")


@pytest.mark.parametrize(
    ("made", "kind", "message"),
    [
        (lambda root: None, Invalid, r"the volume has no folder `volume`; beside it are other"),
        (nothing, Invalid, r"there is no file in `volume`"),
        (archive, Invalid, r"`model.tar.gz` is an archive; unpack it on the volume"),
        (pipeline, Invalid, r"the files of a pipeline are uploaded"),
        (words, Refused, r"not a model I know: found README"),
        (leading_out, Refused, r"`weights/c.bin` is a link; put what it names"),
        (looping, Refused, r"`again` is a link"),
        (piped, Refused, r"`weights/pipe` is no file"),
        (many, Refused, r"more than 5 files"),
    ],
)
def test_what_could_not_be_served_from_there_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: Callable[[Path], None],
    kind: type[ModelyardError],
    message: str,
) -> None:
    monkeypatch.setattr(survey, "MOST_FILES", 5)
    (tmp_path / "other").mkdir()
    made(tmp_path / "volume")
    with pytest.raises(kind, match=message):
        survey.survey(tmp_path / "volume", TRUSTING)
    refused = survey.answered(tmp_path / "volume", TRUSTING)["result"]["refused"]
    assert refused["code"] == kind.code


def test_what_could_run_code_is_refused_as_an_upload_is(tmp_path: Path) -> None:
    root = lay(tmp_path / "volume")
    with pytest.raises(Refused, match="UnsafeContent"):
        survey.survey(root, CAREFUL)
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "model.pkl").write_bytes(pickle.dumps(_Harm()))
    with pytest.raises(Refused, match="UnsafeContent"):
        survey.survey(hostile, CAREFUL)


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def test_a_file_that_nobody_may_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay(tmp_path / "volume")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(survey, "_digest", refuse)
    failure = survey.answered(root, TRUSTING)["failure"]
    assert failure["reason"] == "MountFailed"
    assert failure["message"] == f"`model.py` cannot be read by user {os.getuid()}: Permission denied"
