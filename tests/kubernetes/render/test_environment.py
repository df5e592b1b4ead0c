"""What servers are told in a cluster: by the same names as on one machine, and all of them filled in."""

from __future__ import annotations

import re

import pytest

from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.deployment import DeploymentSpec, Resources
from modelyard.domain.mounts import parse
from modelyard.domain.server import Server, ServerKind
from tests.kubernetes.render.cases import desired, objects

OTHERS = [kind for kind in ServerKind if kind not in (ServerKind.MODELYARD, ServerKind.SERVING)]


def server_of(manifests: tuple[Manifest, ...]) -> Manifest:
    (deployment,) = (each for each in manifests if each["kind"] == "Deployment")
    found: Manifest = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def files_of(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    maps = [
        each for each in manifests if each["kind"] == "ConfigMap" and "-config-" in each["metadata"]["name"]
    ]
    return {name: text for each in maps for name, text in each["data"].items()}


def told(container: Manifest) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_generated_server_has_all_names_of_its_command_and_files_filled_in(kind: ServerKind) -> None:
    spec = DeploymentSpec(model="churn@3", server=Server(kind=kind), resources=Resources(gpu="1"))
    manifests = objects(desired(spec))
    container, files = server_of(manifests), files_of(manifests)
    written = "\n".join([*container["command"], *files.values()])
    assert re.findall(r"\{\{[A-Z_0-9]+\}\}", written) == []
    assert files, "every kind has one"
    for text in files.values():
        assert "$(" not in text, "nobody fills references of files in"


def test_files_name_ports_and_what_only_a_pod_knows_stays_as_it_is() -> None:
    text = "{{MODELYARD_HOST}}:{{MODELYARD_PORT}} {{MODELYARD_PORT_9001}} {{RESOURCE_CPU}} {{K8S_POD_IP}}"
    server = Server(kind=ServerKind.SERVING, command="serve", ports=(9000, 9001))
    spec = DeploymentSpec(server=server, config_files={"a.conf": text}, metrics="9001:/metrics")
    manifests = objects(desired(spec))
    assert files_of(manifests) == {"a.conf": "0.0.0.0:9000 9001 0 {{K8S_POD_IP}}"}
    assert told(server_of(manifests))["MODELYARD_METRICS_PORT"] == "9001"


def test_what_is_only_usual_is_as_the_user_has_it() -> None:
    """As on one machine: one who says how many threads there are gets as many."""
    given = {"OMP_NUM_THREADS": "3", "LANG": "de_DE.UTF-8", "K8S_POD_IP": "no", "PYTHONSAFEPATH": "no"}
    container = server_of(objects(desired(DeploymentSpec(model="churn@3", env=given))))
    users = {each["name"] for each in container["env"] if "secretKeyRef" in each.get("valueFrom", {})}
    assert users == {"OMP_NUM_THREADS", "LANG"}
    assert len(container["env"]) == len({each["name"] for each in container["env"]})


@pytest.mark.parametrize("value", ["9000", "{{MODELYARD_PORT}}0"])
def test_a_port_of_ones_own_takes_the_place_of_the_usual_one(value: str) -> None:
    """As on one machine: the platform's own names cannot be taken, and this one is nobody's."""
    server = Server(kind=ServerKind.SERVING, command="serve {{PORT}}", ports=(8080,))
    container = server_of(objects(desired(DeploymentSpec(server=server, env={"PORT": value}))))
    (port,) = (each for each in container["env"] if each["name"] == "PORT")
    assert port.get("value") == (None if value == "9000" else "80800")
    assert ("valueFrom" in port) is (value == "9000")
    assert told(container)["MODELYARD_PORT"] == "8080"
    assert container["command"][-1] == f"serve {'9000' if value == '9000' else '80800'}"


def test_mounts_are_told_by_name_and_are_where_they_are_told() -> None:
    server = Server(kind=ServerKind.SERVING, command="serve --keys {{MODELYARD_MOUNT_KEYS}}/a", ports=(9000,))
    spec = DeploymentSpec(
        server=server,
        mounts=parse("keys(secret):/keys; 1Mi(memory):/fast/one"),
        env={"K": "{{MODELYARD_MOUNT_KEYS}}"},
    )
    container = server_of(objects(desired(spec)))
    variables = told(container)
    assert "serve --keys /keys/a" in container["command"]
    assert variables["K"] == variables["MODELYARD_MOUNT_KEYS"] == "/keys"
    assert variables["MODELYARD_MOUNT_FAST_ONE"] == "/fast/one"
    assert variables["MODELYARD_MOUNT_DIR"] == "/"
    assert {"/keys", "/fast/one"} <= {each["mountPath"] for each in container["volumeMounts"]}
