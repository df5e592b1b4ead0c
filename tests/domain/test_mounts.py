"""Where mounts may be laid."""

from __future__ import annotations

import pytest

from modelyard.domain import mounts
from modelyard.domain.mounts import Mount, MountKind


def memory(path: str) -> Mount:
    return Mount(kind=MountKind.MEMORY, path=path)


@pytest.mark.parametrize("below", ["", "/", "/more"])
@pytest.mark.parametrize("path", ["/models", "/variant", "//runtime", "/run/modelyard", "/etc/./modelyard"])
def test_a_pod_keeps_what_the_platform_lays_there(path: str, below: str) -> None:
    assert "choose another path" in mounts.refused_in_pod(memory(path + below))


@pytest.mark.parametrize(
    "path", ["/dev/shm", "/tmp", "/config", "/home/modelyard", "/etc", "/etc/modelyardly", "/models2", "/run"]
)
def test_other_places_are_the_users(path: str) -> None:
    assert mounts.refused_in_pod(memory(path)) == ""


def test_a_pod_knows_no_path_with_a_colon() -> None:
    assert mounts.refused_in_pod(memory("/a:b")) == "has a `:`, which no path in a pod may have; leave it out"
    assert mounts.errors([memory("/a:b")], "spec.mounts") == [], "one machine has no trouble with it"
