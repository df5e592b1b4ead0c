"""Files that a volume brought are compared with the list of what was published."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard_fetch import outcome
from tests.fetch.running import PROGRAM, entry, manifest

FILES = {"model.onnx": b"weights" * 1000, "data/more.bin": b"", "data/labels.txt": b"a\nb\n"}


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    home = tmp_path / "volume"
    for path, data in FILES.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(data)
    return home


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return manifest(tmp_path, [entry(path, data) for path, data in FILES.items()])


def check(listed: Path, volume: Path) -> tuple[int, str]:
    last = listed.with_name("termination")
    last.unlink(missing_ok=True)
    words = ["check", "--manifest", str(listed), "--in", str(volume), "--last-words", str(last)]
    done = subprocess.run(
        [sys.executable, "-I", PROGRAM, *words], capture_output=True, check=False, timeout=60
    )
    return done.returncode, last.read_text() if last.exists() else ""


def test_right_files_are_right_whatever_lies_beside_them(listed: Path, volume: Path) -> None:
    (volume / "other").write_text("x")
    (volume / "data" / "labels.txt").rename(volume / "real")
    (volume / "data" / "labels.txt").symlink_to("../real")
    before = sorted(volume.rglob("*"))
    assert check(listed, volume) == (0, "")
    assert sorted(volume.rglob("*")) == before, "nothing is written"


def flipped(volume: Path) -> None:
    (volume / "model.onnx").write_bytes(b"weighty" + FILES["model.onnx"][7:])


def longer(volume: Path) -> None:
    (volume / "data/more.bin").write_bytes(b"x")


def gone(volume: Path) -> None:
    (volume / "data/labels.txt").unlink()


def folder(volume: Path) -> None:
    gone(volume)
    (volume / "data/labels.txt").mkdir()


def pipe(volume: Path) -> None:
    gone(volume)
    os.mkfifo(volume / "data/labels.txt")


def outside(volume: Path) -> None:
    gone(volume)
    (volume.parent / "labels.txt").write_bytes(FILES["data/labels.txt"])
    (volume / "data/labels.txt").symlink_to("../../labels.txt")


@pytest.mark.parametrize(
    ("happens", "code", "words"),
    [
        (flipped, outcome.DIFFERS, "ArtifactCorrupt: `model.onnx` has sha256 "),
        (longer, outcome.DIFFERS, "ArtifactCorrupt: `data/more.bin` has 1 bytes and was published with 0"),
        (gone, outcome.NOT_FOUND, "MountFailed: `data/labels.txt` is not in the folder of the volume, which"),
        (folder, outcome.NOT_FOUND, "MountFailed: `data/labels.txt` is not in the folder"),
        (pipe, outcome.NOT_FOUND, "MountFailed: `data/labels.txt` is not in the folder"),
        (outside, outcome.NOT_FOUND, "MountFailed: `data/labels.txt` is a link that leads out of the volume"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_not_as_published_is_named(
    listed: Path, volume: Path, happens: object, code: int, words: str
) -> None:
    happens(volume)  # type: ignore[operator]
    ended, said = check(listed, volume)
    assert (ended, said[: len(words)]) == (code, words)


def test_a_folder_that_is_not_there_is_said(listed: Path, tmp_path: Path) -> None:
    ended, said = check(listed, tmp_path / "nothing")
    assert ended == outcome.NOT_FOUND
    assert "the volume cannot be read: No such file or directory" in said
