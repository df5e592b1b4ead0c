"""What a container gets is what the user wrote, whatever Kubernetes and shells would make of it."""

from __future__ import annotations

import base64
import subprocess
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from modelyard.domain import texts
from modelyard.domain.deployment import DeploymentSpec, Key, Stage
from modelyard.domain.health import Health, Probe
from modelyard.domain.mounts import parse
from modelyard.domain.server import Server, ServerKind
from tests.kubernetes.render.cases import desired, objects
from tests.support.cluster.processes import environ

IP = "10.0.0.7"
POD = {
    "metadata": {"name": "web-r1-abc", "namespace": "modelyard-default", "uid": "1"},
    "spec": {"nodeName": "node-1"},
    "status": {"podIP": IP, "hostIP": "192.168.0.1"},
}
KNOWN = {"K8S_POD_IP": IP, "MODELYARD_HOST": IP, "MODELYARD_PORT": "9000", "TOLD": "$(HOME)$$"}
_named = st.sampled_from(["{{K8S_POD_IP}}", "{{MODELYARD_HOST}}", "{{MODELYARD_PORT}}", "{{TOLD}}"])
_dollars = st.sampled_from(["$", "$$", "(", ")", "$(HOME)", "$(K8S_POD_IP)", "$$(X)"])
_pieces = _named | _dollars | st.sampled_from(["a", " ", "'", '"', "\\", "`", "\n", "{", "}", "*"])
_texts = st.lists(_pieces, max_size=8).map("".join)


def rendered(spec: DeploymentSpec, stage: Stage = Stage.PRODUCTION) -> tuple[dict[str, Any], dict[str, str]]:
    """The container, and its environment as the kubelet makes it."""
    made = objects(desired(spec, key=Key("default", "web", stage)))
    data = {each["metadata"]["name"]: each["data"] for each in made if each["kind"] == "Secret"}
    (deployment,) = (each for each in made if each["kind"] == "Deployment")
    container, env = deployment["spec"]["template"]["spec"]["containers"][0], {}
    for each in container["env"]:
        source = each.get("valueFrom", {})
        if "fieldRef" in source:
            env[each["name"]] = environ.field(POD, source["fieldRef"]["fieldPath"])
        elif "secretKeyRef" in source:
            coded = data[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
            env[each["name"]] = base64.b64decode(coded).decode()
        else:
            env[each["name"]] = environ.expand(each["value"], env)
    return container, env


def server(command: str | tuple[str, ...], **changes: Any) -> DeploymentSpec:
    made = Server(kind=ServerKind.SERVING, command=command, ports=(9000,))
    return DeploymentSpec(server=made, env={"TOLD": "$(HOME)$$"}, **changes)


@settings(deadline=None, max_examples=150)
@given(_texts)
def test_a_command_is_run_as_it_was_written(text: str) -> None:
    for command in (f"echo {text}", ("echo", text)):
        container, env = rendered(server(command))
        filled = texts.argv(texts.fill_command(command, KNOWN))
        assert tuple(environ.expand(word, env) for word in container["command"]) == filled


@settings(deadline=None, max_examples=100)
@given(_texts)
def test_a_command_that_is_started_by_hand_is_what_was_written(text: str) -> None:
    _, env = rendered(server(f"echo {text}"), Stage.DEBUG)
    assert env["MODELYARD_START_COMMAND"] == texts.fill(f"echo {text}", KNOWN)
    _, env = rendered(server(("printf", "%s", text)), Stage.DEBUG)
    assert _said("sh", "-c", env["MODELYARD_START_COMMAND"]) == texts.fill(text, KNOWN)


@settings(deadline=None, max_examples=100)
@given(_texts)
def test_a_variable_is_what_was_written(text: str) -> None:
    made = Server(kind=ServerKind.SERVING, command="serve", ports=(9000,))
    _, env = rendered(DeploymentSpec(server=made, env={"MINE": text}))
    known = {name: value for name, value in KNOWN.items() if name != "TOLD"}
    assert env["MINE"] == texts.fill(text, known)


def test_a_place_with_dollars_is_told_as_it_is() -> None:
    container, env = rendered(server("serve", mounts=parse("(memory):/a$(HOME)$$b")))
    assert env["MODELYARD_MOUNT_A_HOME_B"] == "/a$(HOME)$$b"
    assert "/a$(HOME)$$b" in {each["mountPath"] for each in container["volumeMounts"]}


@settings(deadline=None, max_examples=60)
@given(_texts)
def test_a_probe_asks_what_was_written(text: str) -> None:
    """Nobody but a shell fills in for the kubelet what only the pod knows."""
    probe = Probe(command=("printf", "%s", text))
    container, env = rendered(server("serve", health=Health(readiness=probe)))
    command = container["readinessProbe"]["exec"]["command"]
    assert _said(*command, K8S_POD_IP=env["K8S_POD_IP"]) == texts.fill(text, KNOWN)
    if "{{K8S" not in text and "{{MODELYARD_HOST" not in text:
        assert command == ["printf", "%s", texts.fill(text, KNOWN)], "an image need not have a shell"


def test_a_probe_for_a_shell_is_read_by_it_as_on_one_machine() -> None:
    text = "printf %s '{{MODELYARD_HOST}}' \"$HERE\" $((1 + {{MODELYARD_PORT}}))"
    container, _ = rendered(server("serve", health=Health(liveness=Probe(command=text))))
    command = container["livenessProbe"]["exec"]["command"]
    assert _said(*command, K8S_POD_IP="10.0.0.7", HERE="it's") == "10.0.0.7it's9001"


def _said(*command: str, **env: str) -> str:
    path = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=path | env, capture_output=True, check=True, text=True).stdout
