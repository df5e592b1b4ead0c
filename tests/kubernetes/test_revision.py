"""What one revision becomes in the cluster."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render.desired import Desired, Settings
from modelyard.backends.kubernetes.render.revision import account, anchor, revision
from modelyard.control.deliveries import token
from modelyard.domain import health
from modelyard.domain.deployment import DeploymentSpec, Key, Resources, Stage
from modelyard.domain.model import File
from modelyard.domain.mounts import Mount, MountKind
from modelyard.domain.program import Subject, program
from modelyard.domain.server import Server, ServerKind
from modelyard_fetch import manifest
from tests.backends import things
from tests.support.cluster import schemas, verbs
from tests.support.cluster.verbs import Cluster, Options

NEWEST = Capabilities(version=(1, 37))


def desired(path: Path, **changes: object) -> Desired:
    return Desired(launch=things.launch("a", path, **changes), settings=Settings())  # type: ignore[arg-type]


def rendered(wanted: Desired, capabilities: Capabilities = NEWEST) -> dict[str, Manifest]:
    objects = (anchor(wanted), account(wanted), *revision(wanted, capabilities, anchor_uid="u-1"))
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in objects}


def cluster(version: str) -> Cluster:
    there = Cluster(schemas.load(version), clock=lambda: 0.0)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"metadata": {"name": "modelyard-default", "labels": labels}}
    there.create(there.kind("Namespace"), "", namespace, Options(manager="test"))
    return there


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize(
    "spec",
    [
        DeploymentSpec(
            model="churn@3", env={"A": "1", "B": "{{K8S_POD_IP}}"}, config="---a.conf\nx={{RESOURCE_CPU}}\n"
        ),
        DeploymentSpec(
            server=Server(kind=ServerKind.SERVING, command="serve --port {{MODELYARD_PORT}}", ports=(80, 81)),
            health=health.parse("80:/ok"),
            mounts=(Mount(kind=MountKind.MEMORY, path="/fast", size="1Gi"),),
        ),
        DeploymentSpec(model="churn@3", resources=Resources(cpu="0.5", memory="1Gi", gpu="1")),
    ],
)
def test_every_version_of_kubernetes_takes_it(version: str, spec: DeploymentSpec, tmp_path: Path) -> None:
    major, minor = map(int, version.split("."))
    there = cluster(version)
    wanted = desired(
        tmp_path,
        spec=spec,
        program=program(spec, Subject(name="churn")) if spec.server.command else None,
        cpu_millis=500,
        gpus=(0,) if spec.resources.gpu != "0" else (),
    )
    for each in rendered(wanted, Capabilities(version=(major, minor))).values():
        name = (each["metadata"]["namespace"], each["metadata"]["name"])
        options = Options(manager="modelyard", force=True)
        once = there.patch(there.kind(each["kind"]), name, verbs.APPLY, each, options)
        again = there.patch(there.kind(each["kind"]), name, verbs.APPLY, each, options)
        assert again["metadata"]["resourceVersion"] == once["metadata"]["resourceVersion"]


def test_the_users_values_are_nowhere_but_in_a_secret(tmp_path: Path) -> None:
    spec = DeploymentSpec(
        model="churn@3", env={"PASSWORD": "hunter2hunter2", "WHERE": "at {{RESOURCE_CPU}} $(X)"}
    )
    found = rendered(desired(tmp_path, spec=spec))
    assert not any("hunter2hunter2" in json.dumps(each) for each in found.values())
    (env,) = (each for name, each in found.items() if name.startswith("Secret/") and "env" in name)
    assert base64.b64decode(env["data"]["PASSWORD"]) == b"hunter2hunter2"
    container = found["Deployment/churn-r2"]["spec"]["template"]["spec"]["containers"][0]
    shown = {each["name"]: each.get("value") for each in container["env"]}
    assert shown["WHERE"] == "at 0 $$(X)"


@pytest.mark.parametrize(
    "kind", [ServerKind.TRITON, ServerKind.TFSERVING, ServerKind.TORCHSERVE, ServerKind.VLLM]
)
def test_another_image_leaves_everything_else_that_was_generated(kind: ServerKind, tmp_path: Path) -> None:
    def pods(image: str) -> tuple[dict[str, object], dict[str, object]]:
        spec = DeploymentSpec(model="churn@3", server=Server(kind=kind, image=image))
        made = program(spec, Subject(name="churn", version="3", entry="model.onnx"))
        found = rendered(desired(tmp_path, spec=spec, program=made))
        others = {name: each for name, each in found.items() if not name.startswith("Deployment/")}
        template = found["Deployment/churn-r2"]["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert container.pop("image") == (image or made.image)
        container["env"] = [each for each in container["env"] if each["name"] != "KUBEFLOW_MODEL_IMAGES"]
        return others, template

    assert pods("") == pods("registry.example.org/mirror/server:9")
    (config,) = (
        each["data"] for name, each in pods("")[0].items() if name.startswith("ConfigMap/churn-r2-config")
    )  # type: ignore[index]
    assert config, "what was generated is laid in the pod"
    assert "{{" not in "".join(config.values())


def test_what_is_held_beside_a_pod_has_another_name_when_it_changes(tmp_path: Path) -> None:
    one = rendered(desired(tmp_path, spec=DeploymentSpec(model="churn@3", config_files={"a": "1"})))
    same = rendered(desired(tmp_path, spec=DeploymentSpec(model="churn@3", config_files={"a": "1"})))
    other = rendered(desired(tmp_path, spec=DeploymentSpec(model="churn@3", config_files={"a": "2"})))
    assert one == same
    assert len(set(one) ^ set(other)) == 2


def test_who_asks_for_no_card_sees_none(tmp_path: Path) -> None:
    def variables(gpus: tuple[int, ...]) -> set[str]:
        spec = DeploymentSpec(model="churn@3", resources=Resources(gpu=str(len(gpus))))
        (container,) = rendered(desired(tmp_path, gpus=gpus, spec=spec))["Deployment/churn-r2"]["spec"][
            "template"
        ]["spec"]["containers"]
        return {each["name"] for each in container["env"]}

    assert "NVIDIA_VISIBLE_DEVICES" in variables(())
    assert "NVIDIA_VISIBLE_DEVICES" not in variables((0, 1))


def test_in_the_stage_debug_the_pod_sleeps_and_is_asked_nothing(tmp_path: Path) -> None:
    key = Key("default", "churn", Stage.DEBUG)
    wanted = desired(tmp_path, key=key)
    (deployment,) = (each for each in rendered(wanted).values() if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["sleep", "infinity"]
    assert not any(name.endswith("Probe") for name in container)


def test_everything_belongs_to_the_anchor_and_carries_its_labels(tmp_path: Path) -> None:
    wanted = desired(tmp_path)
    for each in revision(wanted, NEWEST, anchor_uid="u-1"):
        assert each["metadata"]["ownerReferences"][0]["uid"] == "u-1"
        assert names.key_of(each["metadata"]["labels"]) == wanted.launch.key


LOCK = "numpy==2.1.0 \\\n    --hash=sha256:aa\n"


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_a_runtime_that_no_image_has_is_made_when_the_pod_starts(version: str, tmp_path: Path) -> None:
    settings = Settings(index_url="https://user:word@index.example.org/simple")
    wanted = replace(desired(tmp_path), lock=LOCK, settings=settings)
    objects = rendered(wanted)
    there = cluster(version)
    for each in objects.values():
        name = (each["metadata"]["namespace"], each["metadata"]["name"])
        options = Options(manager="modelyard", force=True)
        there.patch(there.kind(each["kind"]), name, verbs.APPLY, each, options)
    template = objects["Deployment/churn-r2"]["spec"]["template"]["spec"]
    made = next(each for each in template["initContainers"] if each["name"] == names.ENVIRONMENT)
    assert made["image"] == settings.images.serving, "its Python is the one that the environment is for"
    secret = next(each for name, each in objects.items() if name.startswith("Secret/churn-r2-packages"))
    assert base64.b64decode(secret["data"]["requirements.lock"]).decode() == LOCK
    assert "user:word" not in json.dumps(objects), "addresses with passwords are in Secrets only"
    platform = next(each for name, each in objects.items() if name.startswith("ConfigMap/churn-r2-replica"))
    interpreter = json.loads(platform["data"]["replica.json"])["worker"]["interpreter"]
    assert interpreter == "/runtime/environment/bin/python"
    server = template["containers"][0]
    assert {"name": "runtime", "mountPath": "/runtime", "readOnly": True} in server["volumeMounts"]


def test_a_runtime_of_the_image_needs_no_other(tmp_path: Path) -> None:
    objects = rendered(desired(tmp_path))
    template = objects["Deployment/churn-r2"]["spec"]["template"]["spec"]
    assert names.ENVIRONMENT not in [each["name"] for each in template["initContainers"]]


@pytest.mark.parametrize("model_files", ["", "pvc://models/churn"])
def test_a_model_of_ten_thousand_files_fits_into_what_a_cluster_keeps(
    model_files: str, tmp_path: Path
) -> None:
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(10_000)]
    files = tuple(File(path=f"shards/part-{n:05}.bin", size=n, sha256=d) for n, d in enumerate(digests))
    scope = {"key": "default/churn@production", "revision": 2}
    wanted = desired(tmp_path, spec=DeploymentSpec(model="churn@3", model_files=model_files))
    guest = wanted.launch.guest
    wanted = replace(
        wanted,
        launch=replace(wanted.launch, guest=replace(guest, artifact=replace(guest.artifact, files=files))),
        settings=Settings(artifact_url="http://modelyard.modelyard-system:8081/api/v1/artifacts"),
        tokens={digest: token(b"k", scope, digest) for digest in digests},
    )
    there = cluster(schemas.VERSIONS[-1])
    lists = []
    for each in rendered(wanted).values():
        if each["kind"] not in ("Secret", "ConfigMap"):
            continue
        name = (each["metadata"]["namespace"], each["metadata"]["name"])
        there.patch(there.kind(each["kind"]), name, verbs.APPLY, each, Options(manager="m", force=True))
        packed = (each.get("binaryData") or each.get("data") or {}).get("manifest.json")
        if packed:
            (tmp_path / "manifest.json").write_bytes(base64.b64decode(packed))
            read = manifest.read(str(tmp_path / "manifest.json"), located=not model_files)
            lists.append([entry.path for entry in read.entries])
    assert lists == [[file.path for file in files]]
