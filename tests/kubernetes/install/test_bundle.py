"""Offline bundles: made, checked, and installed with no index; images by whatever program is there."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from modelyard.installing import values
from modelyard.installing.bundle import checksums, creating, pictures, unpacking, wheels
from modelyard.installing.bundle.creating import Wanted

ROOT = Path(__file__).parents[3]
OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}


def quiet(text: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages of our lock."""
    text = (ROOT / "locks/run.lock").read_text()
    entries = [
        entry for entry in re.split(r"\n(?=[a-z])", text) if entry.startswith(("packaging==", "pyyaml=="))
    ]
    assert len(entries) == 2
    path = tmp_path_factory.mktemp("lock") / "few.lock"
    path.write_text("\n".join(entries) + "\n")
    return path


@pytest.fixture(scope="module")
def bundle(lock: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of these and of Modelyard's own wheel, with images listed only."""
    target = tmp_path_factory.mktemp("made") / "bundle"
    wanted = Wanted(values=values.of({}), lock=lock, images=("vllm/vllm:1",), copies_images=False)
    creating.create(wanted, target, say=quiet)
    return target


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    target = tmp_path / "copied"
    subprocess.run(["cp", "-r", bundle, target], check=True)
    return target


def test_it_holds_everything_and_the_checksum_of_each_file(bundle: Path) -> None:
    found = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"install.sh", "manifests.yaml", "requirements.lock", "bundle.json", "images.txt"} <= found
    assert {"chart/modelyard/Chart.yaml", "chart/modelyard/templates/deployment.yaml"} <= found
    assert {name.split("-")[0] for name in found if name.endswith(".whl")} == {
        "wheels/modelyard", "wheels/packaging", "wheels/pyyaml",
    }  # fmt: skip
    assert checksums.require(bundle) == len(found) - 1
    subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=bundle, check=True)


def test_images_that_nobody_could_copy_are_listed_with_the_commands(bundle: Path) -> None:
    text = (bundle / "images.txt").read_text()
    assert "vllm/vllm:1 - images/vllm_vllm_1.tar" in text
    assert "skopeo copy docker://vllm/vllm:1 docker-archive:images/vllm_vllm_1.tar:vllm/vllm:1" in text
    assert "crane pull vllm/vllm:1 images/vllm_vllm_1.tar" in text
    assert "docker save --output images/vllm_vllm_1.tar vllm/vllm:1" in text


@pytest.mark.slow
def test_its_wheels_are_installed_with_no_index(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    with unpacking.opened(bundle, say=quiet) as directory:
        program = unpacking.install_wheels(directory, tmp_path / "venv")
    assert program == tmp_path / "venv/bin/modelyard"
    there = "import packaging, yaml, modelyard_worker, importlib.metadata as m; print(m.version('modelyard'))"
    done = subprocess.run(
        [tmp_path / "venv/bin/python", "-I", "-c", there], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == json.loads((bundle / "bundle.json").read_text())["modelyard"]


@pytest.mark.slow
def test_the_script_installs_where_there_is_nothing_yet(bundle: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [bundle / "install.sh", tmp_path / "here"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHON": sys.executable, **OFFLINE},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    subprocess.run([tmp_path / "here/bin/python", "-I", "-c", "import yaml, modelyard_worker"], check=True)


def test_the_wheel_brings_the_lock_that_bundles_are_made_of(bundle: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", wheels.own_wheel(bundle / "wheels"), tmp_path], check=True
    )
    packed = tmp_path / "modelyard/installing/requirements.lock"
    assert packed.read_text() == (ROOT / "locks/run.lock").read_text()


def changed(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


SPOILED = {
    "changed": (lambda it: changed(next(it.glob("wheels/packaging*"))), "packaging.* was changed"),
    "removed": (lambda it: next(it.glob("wheels/pyyaml*")).unlink(), "pyyaml.* is missing"),
    "added": (lambda it: (it / "wheels/evil-1-py3-none-any.whl").write_text(""), "evil.* is not of this"),
    "linked": (lambda it: (it / "wheels/evil.whl").symlink_to("/etc/passwd"), "evil.* is not of this"),
    "no sums": (lambda it: (it / "SHA256SUMS").unlink(), "is no bundle"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_bundle_that_was_spoiled_is_not_used(copied: Path, name: str) -> None:
    spoil: Any
    spoil, message = SPOILED[name]
    spoil(copied)
    with pytest.raises(Refused, match=message), unpacking.opened(copied, say=quiet):
        pytest.fail("it was opened")


def test_wheels_of_another_python_are_refused_with_the_remedy(copied: Path, tmp_path: Path) -> None:
    about = json.loads((copied / "bundle.json").read_text()) | {"python": "3.9"}
    (copied / "bundle.json").write_text(json.dumps(about))
    with pytest.raises(Invalid, match=r"Python 3\.9 .* install\.sh with PYTHON"):
        unpacking.install_wheels(copied, tmp_path / "venv")


def test_a_packed_bundle_is_the_same(bundle: Path, tmp_path: Path) -> None:
    packed = tmp_path / "bundle.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(bundle, arcname="modelyard-bundle")
    with unpacking.opened(packed, say=quiet) as directory:
        assert (directory / "install.sh").stat().st_mode & stat.S_IXUSR
    packed.write_bytes(packed.read_bytes()[:5000])
    with (
        pytest.raises(Refused, match=r"cannot be unpacked|is not what|is no bundle"),
        unpacking.opened(packed, say=quiet),
    ):
        pytest.fail("it was opened")


def test_a_packed_bundle_cannot_write_elsewhere(tmp_path: Path) -> None:
    packed = tmp_path / "evil.tar"
    (tmp_path / "file").write_text("")
    with tarfile.open(packed, "w") as archive:
        archive.add(tmp_path / "file", arcname="../outside")
    with pytest.raises(Refused, match="cannot be unpacked"), unpacking.opened(packed, say=quiet):
        pytest.fail("it was opened")


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not there"), unpacking.opened(tmp_path / "none", say=quiet):
        pytest.fail("it was opened")


def test_nothing_is_written_over(bundle: Path) -> None:
    with pytest.raises(Conflict, match="is there already"):
        creating.create(Wanted(values=values.of({})), bundle, say=quiet)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"lock": Path("/nowhere.lock")}, "--lock: /nowhere.lock is not a file"),
        ({"wheel": Path("/nowhere.whl")}, "--wheel: /nowhere.whl is not a wheel"),
    ],
)
def test_what_cannot_be_used_is_named(
    lock: Path, tmp_path: Path, wanted: dict[str, Path], message: str
) -> None:
    given: dict[str, Any] = {"lock": lock, **wanted}
    with pytest.raises(Invalid, match=message):
        creating.create(Wanted(values=values.of({}), **given), tmp_path / "made", say=quiet)


@pytest.mark.parametrize("name", ["made", "made.tar.gz"])
def test_what_fails_half_way_leaves_nothing(
    lock: Path, programs_here: Path, tmp_path: Path, name: str
) -> None:
    script(programs_here, "skopeo", "exit 1")
    (tmp_path / "place").mkdir()
    with pytest.raises(Unavailable, match="skopeo"):
        creating.create(Wanted(values=values.of({}), lock=lock), tmp_path / "place" / name, say=quiet)
    assert list((tmp_path / "place").iterdir()) == []


def test_a_wheel_that_the_index_gives_otherwise_is_refused(lock: Path, tmp_path: Path) -> None:
    (tmp_path / "other.lock").write_text(re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", lock.read_text()))
    with pytest.raises(Unavailable, match=r"the wheels of the lock(?s:.*)Expected sha256"):
        wheels.bring(tmp_path / "other.lock", None, tmp_path / "wheels")


def script(directory: Path, name: str, body: str) -> None:
    """A program on the PATH that writes down what it was asked."""
    path = directory / name
    path.write_text(f'#!/bin/sh\necho "$(basename $0) $*" >> {directory}/asked\n{body}\n')
    path.chmod(0o755)


@pytest.fixture
def programs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("skopeo", 'case $1 in copy) echo x > "$(echo "$3" | cut -d: -f2)";; *) echo sha256:abc;; esac'),
        ("crane", 'case $1 in pull) echo x > "$3";; *) echo sha256:abc;; esac'),
        ("docker", 'case $1 in save) echo x > "$3";; image) echo my/a@sha256:abc;; esac'),
    ],
)
def test_images_are_copied_with_the_program_that_is_there(
    programs_here: Path, tmp_path: Path, name: str, body: str
) -> None:
    script(programs_here, name, body)
    if name != "docker":
        script(programs_here, "docker", "exit 1")  # the better one is taken
    (brought,) = pictures.bring(pictures.planned(["my/a:1"]), tmp_path, say=quiet)
    assert (tmp_path / brought.archive).exists()
    assert brought.digest == "sha256:abc"


def test_a_program_that_fails_is_quoted(programs_here: Path, tmp_path: Path) -> None:
    script(programs_here, "skopeo", "echo no such image >&2; exit 1")
    with pytest.raises(Unavailable, match=r"image my/a:1: .*no such image"):
        pictures.bring(pictures.planned(["my/a:1"]), tmp_path, say=quiet)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("k3s", "k3s ctr images import"),
        ("microk8s", "microk8s images import"),
        ("ctr", "ctr --namespace k8s.io images import"),
        ("docker", "docker load --input"),
    ],
)
def test_images_are_loaded_with_the_program_that_is_there(
    programs_here: Path, tmp_path: Path, name: str, asked: str
) -> None:
    script(programs_here, name, "")
    if name != "docker":
        script(programs_here, "docker", "exit 1")
    (picture,) = pictures.planned(["my/a:1"])
    (tmp_path / "images").mkdir()
    (tmp_path / picture.archive).write_text("")
    pictures.load([picture], tmp_path, say=quiet)
    assert (programs_here / "asked").read_text() == f"{asked} {tmp_path / picture.archive}\n"


def test_without_a_program_the_command_is_said(programs_here: Path, tmp_path: Path) -> None:
    there, missing = pictures.planned(["my/a:1", "my/b:1"])
    (tmp_path / "images").mkdir()
    (tmp_path / there.archive).write_text("")
    said: list[str] = []
    if found := pictures.programs.first(("k3s", "microk8s", "ctr", "docker")):
        pytest.skip(f"this machine has {found}")
    pictures.load([there, missing], tmp_path, say=said.append)
    assert said[0].endswith("my/b:1")
    assert said[1] == f"on each node: ctr --namespace k8s.io images import {tmp_path / there.archive}"


def test_the_commands_say_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    for arguments, code, word in (
        (["create", str(tmp_path / "new"), "--lock", "/nowhere"], 2, "--lock"),
        (["create", str(tmp_path)], 7, "is there already"),
        (["install", str(tmp_path / "none")], 3, "is not there"),
        (["install", str(tmp_path)], 4, "is no bundle"),
    ):
        (tmp_path / "something").write_text("")
        done = subprocess.run(
            [sys.executable, "-m", "modelyard", "bundle", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "MODELYARD_HOME": str(tmp_path / "home")},
        )
        assert (done.returncode, word in done.stderr, "Traceback" in done.stderr) == (code, True, False)


def test_listed_commands_write_where_there_is_a_directory(tmp_path: Path) -> None:
    lines = pictures.listing(pictures.planned(["modelyard/serving:1"])).splitlines()
    commands = [line for line in lines if line.startswith("#   ")]
    assert commands[0] == "#   mkdir -p images"
    assert all("images/" in line or "pull modelyard" in line for line in commands[1:])
