"""What is rendered is what was looked at: `MODELYARD_GOLDEN=1` writes the files anew."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import Manifest
from tests.kubernetes.render.cases import CASES, GOLDEN, KEPT, SECRET, as_yaml
from tests.support.cluster import schemas, verbs
from tests.support.cluster.verbs import Cluster, Options

RENDERED = {name: made() for name, made in CASES.items()}
REGENERATE = "MODELYARD_GOLDEN"


@pytest.mark.parametrize("name", KEPT)
def test_it_is_the_golden_one(name: str) -> None:
    text, path = as_yaml(RENDERED[name]), GOLDEN / f"{name}.yaml"
    if os.environ.get(REGENERATE):
        path.write_text(text)
    assert path.read_text() == text, f"look at the difference; {REGENERATE}=1 writes {path.name} anew"


def test_no_golden_file_is_of_no_use() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(KEPT)


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_version_knows_every_field(version: str) -> None:
    for objects in RENDERED.values():
        for each in objects:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_cluster_takes_it_and_what_is_applied_twice_changes_nothing(name: str, version: str) -> None:
    there = Cluster(schemas.load(version), clock=lambda: 0.0)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"metadata": {"name": "modelyard-default", "labels": labels}}
    there.create(there.kind("Namespace"), "", namespace, Options(manager="test"))
    for each in RENDERED[name]:
        place = (each["metadata"].get("namespace", ""), each["metadata"]["name"])
        how = Options(manager="modelyard", force=True)
        once = there.patch(there.kind(each["kind"]), place, verbs.APPLY, each, how)
        again = there.patch(there.kind(each["kind"]), place, verbs.APPLY, each, how)
        assert again["metadata"]["resourceVersion"] == once["metadata"]["resourceVersion"]


@pytest.mark.parametrize("name", CASES)
def test_the_same_wish_gives_the_same_objects_in_the_same_order(name: str) -> None:
    assert json.dumps(CASES[name]()) == json.dumps(RENDERED[name])
    assert list(yaml.safe_load_all(as_yaml(RENDERED[name]))) == list(RENDERED[name])


@pytest.mark.parametrize("name", CASES)
def test_secrets_stand_in_secrets(name: str) -> None:
    shown = [{**each, "data": {}} if each["kind"] == "Secret" else each for each in RENDERED[name]]
    assert SECRET not in json.dumps(shown)
    assert base64.b64encode(SECRET.encode()).decode() not in json.dumps(shown)


@pytest.mark.parametrize("name", CASES)
def test_every_container_may_do_nothing_beyond_its_work(name: str) -> None:
    for spec in _pods(RENDERED[name]):
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounted = {each["name"] for each in container["volumeMounts"]}
            assert mounted <= {each["name"] for each in spec["volumes"]}
            variables = [each["name"] for each in container.get("env", ())]
            assert len(variables) == len(set(variables))


@pytest.mark.parametrize("name", CASES)
def test_what_selects_selects_the_pods_of_the_revision(name: str) -> None:
    objects = {each["kind"]: each for each in RENDERED[name]}
    if "Deployment" not in objects:
        return
    spec = objects["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"].items()
    assert spec["selector"]["matchLabels"].items() <= labels
    assert objects["Service"]["spec"]["selector"].items() <= labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert objects["Service"]["spec"]["selector"][names.REVISION] == "r2"
    assert "replicas" not in spec, "the number belongs to another manager"


@pytest.mark.parametrize("name", CASES)
def test_a_request_may_finish_before_the_pod_is_killed(name: str) -> None:
    for each in RENDERED[name]:
        if each["kind"] == "Deployment":
            spec = each["spec"]["template"]["spec"]
            pre_stop = spec["containers"][0]["lifecycle"]["preStop"]
            slept = int(
                pre_stop["sleep"]["seconds"] if "sleep" in pre_stop else pre_stop["exec"]["command"][1]
            )
            assert spec["terminationGracePeriodSeconds"] >= slept + 30
            assert each["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("name", CASES)
def test_every_object_of_a_deployment_goes_with_its_anchor(name: str) -> None:
    anchor = next((e for e in RENDERED[name] if names.ANCHOR in e["metadata"]["labels"]), None)
    for each in RENDERED[name]:
        if names.REVISION in each["metadata"]["labels"]:
            assert anchor is not None
            (owner,) = each["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["name"]) == ("ConfigMap", anchor["metadata"]["name"])


def _pods(objects: tuple[Manifest, ...]) -> Iterator[dict[str, Any]]:
    for each in objects:
        if each["kind"] in ("Deployment", "Job"):
            yield each["spec"]["template"]["spec"]
