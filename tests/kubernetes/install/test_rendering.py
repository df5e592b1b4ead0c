"""The manifests of the platform: taken by every version, safe by themselves, and what values ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelyard.domain.errors import Invalid
from modelyard.installing import rendering, values
from tests.kubernetes.install.choices import CHOICES
from tests.support.cluster.schemas import VERSIONS

GOLDEN = Path(__file__).parent / "golden"


def rendered(choice: dict[str, Any]) -> dict[tuple[str, str], Any]:
    found = rendering.manifests(values.of(choice))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.mark.parametrize("name", ["defaults", "host-port", "postgresql", "no-routers"])
def test_the_manifests_are_the_golden_ones(name: str) -> None:
    text = rendering.as_yaml(rendering.manifests(values.of({**CHOICES[name], "images": {"tag": "0.0.0"}})))
    path = GOLDEN / f"{name}.yaml"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"{path.name} was not there; look at it, and commit it")
    assert text == path.read_text()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_every_supported_version_takes_them(version: str, choice: dict[str, Any]) -> None:
    for manifest in rendering.manifests(values.of(choice)):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_what_is_written_as_yaml_is_read_the_same(choice: dict[str, Any]) -> None:
    found = rendering.manifests(values.of(choice))
    assert list(yaml.safe_load_all(rendering.as_yaml(found))) == list(found)


def test_the_pod_is_nobody_and_writes_to_its_volumes_only() -> None:
    for name in ("modelyard", "modelyard-router"):
        pod = rendered({})["Deployment", name]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        _is_restricted(pod, container)


def _is_restricted(pod: Any, container: Any) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_an_address_and_ports_of_the_node() -> None:
    found = rendered(CHOICES["host-port"])
    ports = found["Deployment", "modelyard-router"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert [(each.get("hostPort"), each.get("hostIP")) for each in ports] == [
        (80, "192.0.2.7"),
        (443, "192.0.2.7"),
        (None, None),
    ]
    assert found["Service", "modelyard-door"]["spec"]["type"] == "ClusterIP"
    level = found["Namespace", "modelyard-system"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "privileged"


def test_ports_of_every_node() -> None:
    ports = rendered(CHOICES["https"])["Service", "modelyard-door"]["spec"]["ports"]
    assert [(each["port"], each["nodePort"]) for each in ports] == [(8080, 30080), (8443, 30443)]


def test_the_door_is_of_the_routers_or_of_the_platform_itself() -> None:
    for count, component in ((2, "router"), (0, "control-plane")):
        found = rendered({"routers": {"count": count}})
        pods = [each["spec"]["template"] for (kind, _), each in found.items() if kind == "Deployment"]
        door = found["Service", "modelyard-door"]["spec"]["selector"]
        chosen = [pod for pod in pods if door.items() <= pod["metadata"]["labels"].items()]
        assert [pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in chosen] == [component]
        named = {port["name"] for pod in chosen for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in found["Service", "modelyard-door"]["spec"]["ports"]} <= named


def test_a_password_stands_in_a_secret_only() -> None:
    found = rendered(CHOICES["postgresql"])
    holding = [place for place, each in found.items() if "s3cret" in str(each) or "czNjcmV0" in str(each)]
    assert "s3cret" not in str(found["Deployment", "modelyard"])
    assert holding == [] or holding == [("Secret", "modelyard-database")]


def test_nothing_may_read_secrets_of_the_whole_cluster() -> None:
    for (kind, name), each in rendered({}).items():
        if (kind, name) == ("ClusterRole", "modelyard-platform"):
            read = [
                rule for rule in each["rules"] if "secrets" in rule["resources"] or "*" in rule["resources"]
            ]
            assert read == []


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"bind": {"http_port": 38080}}, r"bind.http_port: 38080 is not in .*30000-32767.*HostPort"),
        ({"bind": {"http_port": 70000, "kind": "HostPort"}}, r"bind.http_port: a port is from 1"),
        ({"bind": {"http_port": 0, "kind": "HostPort"}}, r"bind.http_port: a port is from 1"),
        ({"bind": {"https_port": 30080}}, r"bind.https_port: must differ"),
        ({"bind": {"ip": "192.0.2.1"}}, r"bind.ip: .*HostPort or LoadBalancer"),
        ({"bind": {"redirect": True}}, r"bind.redirect: .*https_port"),
        ({"bind": {"node_ports": "many"}}, r"bind.node_ports: must be FIRST-LAST"),
        ({"bind": {"kind": "Ingress"}}, r"bind.kind: "),
        ({"database": {"url": "mysql://x"}}, r"database.url: must be postgresql://"),
        ({"database": {"url": "postgresql://x/y", "secret": "s"}}, r"database.secret: .*not both"),
        ({"routers": {"count": -1}}, r"routers.count: must be from 0"),
        ({"namespace": "kube-system"}, r"namespace: must be one of the platform's own"),
        ({"control_plane": {"env": [{"value": "x"}]}}, r"control_plane.env: every entry needs a `name`"),
        ({"control_plane": {"env": [{"name": "MODELYARD_HOME", "value": "/"}]}}, r"MODELYARD_HOME follows"),
        ({"control_plain": {}}, r"control_plain: "),
    ],
)
def test_what_makes_no_sense_is_named_with_the_remedy(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        rendering.manifests(values.of(choice))


def test_a_wider_range_of_node_ports_may_be_said() -> None:
    found = rendered({"bind": {"http_port": 38080, "node_ports": "30000-40000"}})
    assert found["Service", "modelyard-door"]["spec"]["ports"][0]["nodePort"] == 38080


def test_values_come_from_files_and_words_and_the_last_one_counts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("domain: a.test\nbind: {https_port: 30443, redirect: true}\n")
    (tmp_path / "b.yaml").write_text("domain: b.test\n")
    found = values.load([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["bind.http_port=30081", "images.tag=1"])
    assert (found.domain, found.images.tag) == ("b.test", "1")
    assert (found.bind.http_port, found.bind.https_port, found.bind.redirect) == (30081, 30443, True)


@pytest.mark.parametrize(
    ("file", "word", "message"),
    [
        ("- a\n", "", "must hold values by name"),
        ("a: [\n", "", "cannot be read"),
        ("", "domain", "--set: must be NAME=VALUE"),
        ("", "bind.http_port=many", "bind.http_port: "),
        ("", "bind.htp_port=1", "bind.htp_port: "),
    ],
)
def test_values_that_cannot_be_read_are_named(tmp_path: Path, file: str, word: str, message: str) -> None:
    (tmp_path / "values.yaml").write_text(file)
    with pytest.raises(Invalid, match=message):
        values.load([tmp_path / "values.yaml"], [word] if word else [])


def test_what_routers_are_told_is_told_from_inside_only() -> None:
    (policy,) = (each for (kind, _), each in rendered(CHOICES["defaults"]).items() if kind == "NetworkPolicy")
    faces = [
        rule for rule in policy["spec"]["ingress"] if any(each["port"] == 8079 for each in rule["ports"])
    ]
    assert [rule.get("from") for rule in faces] == [[{"podSelector": {}}]]
