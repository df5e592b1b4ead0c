"""The manifests of the platform: taken by every version, safe by themselves, and what values ask for."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelyard.backends.kubernetes import kinds
from modelyard.domain.errors import Invalid
from modelyard.installing import rendering, values
from tests.kubernetes.install.choices import CHOICES
from tests.support.cluster.schemas import VERSIONS

GOLDEN = Path(__file__).parent / "golden"


def rendered(choice: dict[str, Any]) -> dict[tuple[str, str], Any]:
    found = rendering.manifests(values.of(choice))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.mark.parametrize("name", ["defaults", "host-port", "postgresql", "no-routers", "several"])
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
        (None, None),
    ]
    assert found["Service", "modelyard-door"]["spec"]["type"] == "ClusterIP"
    level = found["Namespace", "modelyard-system"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "privileged"


def test_ports_of_every_node() -> None:
    ports = rendered(CHOICES["https"])["Service", "modelyard-door"]["spec"]["ports"]
    assert [(each["port"], each["nodePort"]) for each in ports] == [(8080, 30080), (8443, 30443)]


def test_services_second_ports_have_a_port_of_the_door_down_to_the_router() -> None:
    for count, name in ((2, "modelyard-router"), (0, "modelyard")):
        choice = {"bind": {"second_http_port": 30082}, "routers": {"count": count}}
        found = rendered(choice)
        door = {each["name"]: each for each in found["Service", "modelyard-door"]["spec"]["ports"]}
        assert (door["second"]["port"], door["second"]["nodePort"]) == (8082, 30082)
        assert found["Service", "modelyard-router"]["spec"]["ports"][1] == {
            "name": "second", "port": 81, "targetPort": "second",
        }  # fmt: skip
        (container,) = found["Deployment", name]["spec"]["template"]["spec"]["containers"]
        assert {"name": "second", "containerPort": 8082} in container["ports"]
        said = {each["name"]: each.get("value") for each in container["env"]}
        assert said.get("MODELYARD_ROUTER_SECOND_PORT", said.get("MODELYARD_GATEWAY__SECOND_PORT")) == "8082"
    assert all("second" not in str(each) for place, each in rendered({}).items() if place[0] == "Service")


def test_clients_are_told_and_sent_to_the_ports_outside() -> None:
    choice = {"bind": {"https_port": 30443, "second_http_port": 30082, "redirect": True}}
    found = rendered(choice)
    said = {
        each["name"]: each.get("value")
        for name in ("modelyard", "modelyard-router")
        for each in found["Deployment", name]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert said["MODELYARD_KUBERNETES__SHOWN_PORT"] == "30080"
    assert said["MODELYARD_KUBERNETES__SHOWN_HTTPS_PORT"] == "30443"
    assert said["MODELYARD_KUBERNETES__SHOWN_SECOND_PORT"] == "30082"
    assert said["MODELYARD_ROUTER_REDIRECT_PORT"] == "30443"
    assert "SHOWN" not in str(rendered({"bind": {"kind": "ClusterIP"}}))


def test_inside_the_cluster_they_are_sent_to_the_port_of_the_service() -> None:
    found = rendered({"bind": {"kind": "ClusterIP", "http_port": 80, "https_port": 443, "redirect": True}})
    (router,) = found["Deployment", "modelyard-router"]["spec"]["template"]["spec"]["containers"]
    said = {each["name"]: each.get("value") for each in router["env"]}
    assert said["MODELYARD_ROUTER_REDIRECT"] == "true"
    assert "MODELYARD_ROUTER_REDIRECT_PORT" not in said, "the router's own number is the Service's"


def test_the_network_lets_in_what_is_meant_for_clients_and_never_a_routers_face() -> None:
    policy = rendered({})["NetworkPolicy", "modelyard"]["spec"]
    ours = {"matchLabels": {"app.kubernetes.io/name": "modelyard"}}
    assert policy["podSelector"] == ours, "nobody else in the namespace is closed"
    anybody, inside = policy["ingress"]
    open_ports = {
        number
        for each in anybody["ports"]
        for number in range(each["port"], each.get("endPort", each["port"]) + 1)
    }
    assert {8080, 8081, 8082, 8443, 30010, 32767} <= open_ports
    assert 8079 not in open_ports
    assert inside["from"] == [{"podSelector": ours}]
    for name in ("modelyard", "modelyard-router"):
        labels = rendered({})["Deployment", name]["spec"]["template"]["metadata"]["labels"]
        assert labels.items() >= ours["matchLabels"].items()


def test_the_platform_binds_one_role_and_deletes_no_namespace() -> None:
    rules = rendered({})["ClusterRole", "modelyard-platform"]["rules"]
    verbs = {
        (resource, *each.get("resourceNames", ())): set(each["verbs"])
        for each in rules
        for resource in each["resources"]
        if not {"get", "list", "watch"}.issuperset(each["verbs"])
    }
    assert verbs[("rolebindings",)] == {"get", "create", "patch"}
    assert verbs[("namespaces",)] == {"create", "patch"}
    assert verbs[("clusterroles", "modelyard-tenant-manager")] == {"bind"}


def test_kubelets_ask_a_port_at_which_nothing_else_is_answered() -> None:
    (router,) = rendered({})["Deployment", "modelyard-router"]["spec"]["template"]["spec"]["containers"]
    asked = {router[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")}
    said = {each["name"]: each.get("value") for each in router["env"]}
    assert asked == {8078}
    assert said["MODELYARD_ROUTER_HEALTH_PORT"] == "8078"
    # That name is what routers that knew no TLS are told by.
    assert "face" not in {each["name"] for each in router["ports"]}


def test_several_control_planes_share_files_and_nothing_else() -> None:
    found = rendered(CHOICES["several"])
    spec = found["Deployment", "modelyard"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (3, "RollingUpdate")
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    mounts = {
        each["mountPath"]: (each["name"], each.get("subPath"))
        for each in spec["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    assert mounts == {
        "/data": ("own", None),
        "/data/artifacts": ("data", "artifacts"),
        "/data/environments": ("data", "environments"),
        "/data/tls": ("data", "tls"),
        "/data/wheels": ("data", "wheels"),
        "/tmp": ("tmp", None),
    }
    assert found["PersistentVolumeClaim", "modelyard"]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert found["PodDisruptionBudget", "modelyard"]["spec"]["maxUnavailable"] == 1
    alone = rendered({})
    assert ("PodDisruptionBudget", "modelyard") not in alone
    assert alone["Deployment", "modelyard"]["spec"]["strategy"] == {"type": "Recreate"}


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
    assert "s3cret" not in str(found), "it is written as Secrets write it"
    encoded = base64.b64encode(b"postgresql://my:s3cret@db.example/my").decode()
    holding = [place for place, each in found.items() if encoded in str(each)]
    assert holding == [("Secret", "modelyard-database")]
    assert found["Secret", "modelyard-database"]["data"] == {"url": encoded}


def test_nothing_may_read_secrets_of_the_whole_cluster() -> None:
    for (kind, name), each in rendered({}).items():
        if (kind, name) == ("ClusterRole", "modelyard-platform"):
            read = [
                rule for rule in each["rules"] if "secrets" in rule["resources"] or "*" in rule["resources"]
            ]
            assert read == []


def test_the_account_has_rights_for_nothing_that_the_platform_does_not_know() -> None:
    """The verbs are tried by whoever runs the installed platform; these are the objects."""
    known = {(kind.group, kind.plural) for kind in kinds.KINDS}
    known |= {("", "pods/log"), ("", "pods/exec"), ("kueue.x-k8s.io", "workloads")}
    granted = {
        (group, resource)
        for (kind, _), each in rendered({}).items()
        if kind in ("Role", "ClusterRole")
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    granted -= {("rbac.authorization.k8s.io", "clusterroles")}
    assert ("apps", "deployments") in granted
    assert granted - known == set()
    assert ("batch", "cronjobs") not in granted, "whoever sets up an export makes those"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"bind": {"http_port": 38080}}, r"bind.http_port: 38080 is not in .*30000-32767.*HostPort"),
        ({"bind": {"http_port": 70000, "kind": "HostPort"}}, r"bind.http_port: a port is from 1"),
        ({"bind": {"http_port": 0, "kind": "HostPort"}}, r"bind.http_port: a port is from 1"),
        ({"bind": {"second_http_port": 38082}}, r"bind.second_http_port: 38082 is not in .*30000-32767"),
        ({"bind": {"second_http_port": 30080}}, r"bind.second_http_port: must differ"),
        ({"control_plane": {"replicas": 0}}, r"control_plane.replicas: must be from 1 to 9, got 0"),
        ({"control_plane": {"replicas": 2}}, r"replicas: 2 .*cannot share SQLite; set database.url"),
        (
            {"control_plane": {"replicas": 2}, "database": {"secret": "s"}},
            r"control_plane.replicas: .*storage.access_mode=ReadWriteMany",
        ),
        (
            {**CHOICES["several"], "routers": {"count": 0}},
            r"control_plane.replicas: 3 control planes need routers",
        ),
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


def test_a_range_of_node_ports_elsewhere_reaches_the_platform_and_the_routers() -> None:
    found = rendered({"bind": {"http_port": 2080, "node_ports": "2000-9000"}})
    ports = found["NetworkPolicy", "modelyard"]["spec"]["ingress"][0]["ports"]
    let_in = {n for each in ports for n in range(each["port"], each.get("endPort", each["port"]) + 1)}
    assert {2000, 8077, 8083, 9000} <= let_in
    assert {8078, 8079}.isdisjoint(let_in), "what is a router's own stays so"


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
    ours = {"matchLabels": {"app.kubernetes.io/name": "modelyard"}}
    assert [rule.get("from") for rule in faces] == [[{"podSelector": ours}]]
