"""The images: a linter finds nothing, they run as nobody, and what they start is in what they hold."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from modelyard.backends.kubernetes import images
from modelyard.backends.kubernetes.images import IMAGES, Image

ROOT = Path(__file__).parents[3]
KNOWN = pytest.mark.parametrize("image", IMAGES, ids=[image.name for image in IMAGES])


def instructions(image: Image) -> list[tuple[str, str]]:
    """Each instruction and its arguments, continued lines joined."""
    text = (ROOT / "images" / image.dockerfile).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last_stage(image: Image) -> list[tuple[str, str]]:
    found = instructions(image)
    return found[max(place for place, (word, _) in enumerate(found) if word == "FROM") :]


@KNOWN
def test_the_linter_finds_nothing(image: Image) -> None:
    command = [Path(sys.executable).parent / "hadolint", "--failure-threshold", "info", "--format", "json"]
    done = subprocess.run([*command, ROOT / "images" / image.dockerfile], capture_output=True, text=True)
    assert (json.loads(done.stdout), done.returncode) == ([], 0)


def test_every_dockerfile_is_one_of_the_images() -> None:
    found = {path.name for path in (ROOT / "images").glob("*.Dockerfile")}
    assert found == {image.dockerfile for image in IMAGES}


@KNOWN
def test_it_runs_as_the_user_that_pods_name(image: Image) -> None:
    users = [rest for word, rest in last_stage(image) if word == "USER"]
    assert users == ["10001:10001"]


@KNOWN
def test_everything_comes_from_the_checkout_and_from_locks(image: Image) -> None:
    for word, rest in instructions(image):
        assert word != "ADD"
        assert not re.search(r"\bcurl\b|\bwget\b|https?://", rest), rest
        if "pip install" in rest:
            for command in rest.split("&&"):
                if "pip install" in command:
                    assert "--require-hashes" in command or "--no-deps dist/" in command, command
        if word == "COPY" and "--from" not in rest:
            *sources, _ = rest.split()
            assert [source for source in sources if not (ROOT / source).exists()] == []


@KNOWN
def test_the_base_can_be_pinned(image: Image) -> None:
    bases = [rest.split()[0] for word, rest in instructions(image) if word == "FROM"]
    assert set(bases) == {"${PYTHON}"}
    (default,) = [rest for word, rest in instructions(image) if word == "ARG" and rest.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=\S+:[\w.-]+", default)
    assert not default.endswith(":latest")


@KNOWN
def test_nothing_is_written_outside_volumes(image: Image) -> None:
    """The root is read-only in pods: the home and the working directory are the pod's own volumes."""
    said = dict(
        part.split("=", 1) for word, rest in last_stage(image) if word == "ENV" for part in rest.split()
    )
    assert (said["HOME"], said["PYTHONDONTWRITEBYTECODE"]) == ("/tmp", "1")
    assert [rest for word, rest in last_stage(image) if word == "WORKDIR"] == ["/tmp"]


@KNOWN
def test_what_it_starts_is_in_the_package(image: Image) -> None:
    entry, command = (
        json.loads(next(rest for word, rest in last_stage(image) if word == wanted))
        for wanted in ("ENTRYPOINT", "CMD")
    )
    if entry == ["modelyard"]:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert "modelyard" in project["scripts"]
        return
    assert (entry, command[0]) == (["python"], "-m")
    assert importlib.util.find_spec(command[1]) is not None


@KNOWN
def test_its_lock_has_what_its_extra_needs(image: Image) -> None:
    locks = {
        name
        for word, rest in instructions(image)
        if word == "COPY"
        for name in re.findall(r"locks/([a-z]+)\.lock", rest)
    } - {"bootstrap", "run"}  # the wheel is built with the one, and carries the other
    wanted = {"control-plane": {"server"}, "serving": {"serving"}, "serving-cuda": {"cuda"}, "fetch": set()}
    assert locks == wanted[image.name]


def test_versions_are_those_that_tests_ran_with() -> None:
    """What images hold is what `make test` tested, version for version."""
    tested = pinned("dev") | pinned("run")
    for lock in ("server", "serving"):
        found = {name: (version, tested.get(name)) for name, version in pinned(lock).items()}
        assert {name: both for name, both in found.items() if both[1] and both[0] != both[1]} == {}


def pinned(lock: str) -> dict[str, str]:
    text = (ROOT / "locks" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", text, re.MULTILINE))


def test_a_reference_names_registry_and_tag() -> None:
    assert images.reference(images.SERVING, tag="1.2") == "modelyard/serving:1.2"
    found = images.reference(images.FETCH, registry="registry.local:5000/my", tag="1")
    assert found == "registry.local:5000/my/fetch:1"
