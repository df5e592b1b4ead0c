"""What the platform stands on in a cluster: namespace, rights, priorities, volume, secrets, network."""

from __future__ import annotations

from modelyard.backends.kubernetes import priorities
from modelyard.backends.kubernetes.priorities import Rung
from modelyard.installing.tree import NAMESPACE, Base64, Equals, Given, Other, Tree, Value, When

NAME = "modelyard"
"""What the platform's own objects are called."""
TENANT_ROLE = "modelyard-tenant-manager"
"""ClusterRole that the platform binds itself to in each project's namespace."""
KEYS = "modelyard-keys"
"""Secret with the master key and the administrator's token; the platform makes it at its first start."""
INSTALLATION = "modelyard-installation"
"""ConfigMap that says which installation this is; the platform makes that too, at its first start."""
DATABASE = "modelyard-database"
TOKEN = "modelyard-router"  # noqa: S105 - the name of a Secret
"""What the platform and routers prove themselves to one another with; it makes that too."""
HTTP, HTTPS, SECOND, API, FACE, HEALTH = 8080, 8443, 8082, 8081, 8079, 8078
"""Ports of pods: the front door, the same over TLS, services' second ports, the API; a router's own two."""
NODE_PORTS = "30000-32767"
"""What clusters open on their nodes unless they were told otherwise."""

INSTALLER = "modelyard-install"
"""What the label `app.kubernetes.io/managed-by` says of all that an installation brings."""
LABELS: dict[str, Tree] = {
    "app.kubernetes.io/name": "modelyard",
    "app.kubernetes.io/managed-by": INSTALLER,
}
_KEPT: dict[str, Tree] = {"helm.sh/resource-policy": "keep"}
"""`helm uninstall` leaves these: data, and what running services need; `modelyard uninstall` has options."""
COMPONENT = "app.kubernetes.io/component"
SELECTED: dict[str, Tree] = {
    "app.kubernetes.io/name": "modelyard",
    COMPONENT: "control-plane",
}
OURS: dict[str, Tree] = {"app.kubernetes.io/name": "modelyard"}
ROUTED: dict[str, Tree] = {
    "app.kubernetes.io/name": "modelyard",
    COMPONENT: "router",
}

_GATEWAY_ROUTES = ["httproutes", "grpcroutes"]
_ROUTES = [f"modelyard-routes-{number}" for number in range(16)]
"""Secrets with the last routes, for routers that start while the platform is away."""
_CERTIFICATES = ["modelyard-front-door", "modelyard-front-door-beside"]
"""Secrets with what a Gateway's HTTPS port proves itself with."""
_READ = ["get", "list", "watch"]
_WRITE = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]


def namespace() -> Tree:
    """The platform's own namespace. What listens on a node's own port needs more than `restricted` allows."""
    level: Tree = When(Equals("bind.kind", "HostPort"), "privileged", "restricted")
    labels = {**LABELS, "pod-security.kubernetes.io/enforce": level}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": Value(NAMESPACE), "labels": labels}}


def account() -> Tree:
    """Who the platform is to the cluster."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(NAME)}


def reader_role() -> Tree:
    """What the platform may do everywhere: read what it shows, make namespaces, and let itself into them."""
    rules = [
        _rule("", ["nodes", "namespaces", "pods", "services", "configmaps"], _READ),
        _rule("apps", ["deployments"], _READ),
        _rule("batch", ["jobs"], _READ),
        _rule("autoscaling", ["horizontalpodautoscalers"], _READ),
        _rule("policy", ["poddisruptionbudgets"], _READ),
        _rule("discovery.k8s.io", ["endpointslices"], _READ),
        _rule("node.k8s.io", ["runtimeclasses"], _READ),
        _rule("scheduling.k8s.io", ["priorityclasses"], _READ),
        _rule(
            "gateway.networking.k8s.io",
            ["gatewayclasses", "gateways", "referencegrants", *_GATEWAY_ROUTES],
            _READ,
        ),
        _rule("resource.k8s.io", ["deviceclasses", "resourceslices"], _READ),
        _rule("metrics.k8s.io", ["pods"], _READ),
        _rule("", ["namespaces"], ["create", "patch"]),
        _rule("", ["nodes"], ["patch"]),
        _rule("rbac.authorization.k8s.io", ["rolebindings"], ["get", "create", "patch"]),
        _rule("rbac.authorization.k8s.io", ["clusterroles"], ["bind"], names=[TENANT_ROLE]),
    ]  # fmt: skip
    return _cluster_role("modelyard-platform", rules)


def tenant_role() -> Tree:
    """What the platform may do in a project's namespace."""
    rules = [
        _rule("", ["pods", "services", "configmaps", "secrets", "serviceaccounts", "persistentvolumeclaims",
                   "resourcequotas", "limitranges"], _WRITE),
        _rule("", ["events"], _READ),
        _rule("", ["pods/log"], ["get"]),
        _rule("", ["pods/exec"], ["get", "create"]),
        _rule("apps", ["deployments"], _WRITE),
        _rule("batch", ["jobs"], _WRITE),
        _rule("autoscaling", ["horizontalpodautoscalers"], _WRITE),
        _rule("policy", ["poddisruptionbudgets"], _WRITE),
        _rule("networking.k8s.io", ["networkpolicies"], _WRITE),
        _rule("gateway.networking.k8s.io", [*_GATEWAY_ROUTES, "referencegrants"], _WRITE),
        _rule("keda.sh", ["scaledobjects"], _WRITE),
        _rule("kueue.x-k8s.io", ["localqueues"], _WRITE),
        _rule("kueue.x-k8s.io", ["workloads"], _READ),
        _rule("resource.k8s.io", ["resourceclaimtemplates"], _WRITE),
    ]  # fmt: skip
    return _cluster_role(TENANT_ROLE, rules)


def reader_binding() -> Tree:
    """The account has the rights of the role that holds everywhere."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "modelyard-platform", "labels": LABELS},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "modelyard-platform",
        },
        "subjects": [_subject()],
    }  # fmt: skip


def own_role() -> Tree:
    """What the platform may do in its own namespace: say that it is its, keep keys and lease, and route."""
    rules = [
        _rule("", ["secrets"], ["create"]),
        # All, and not its keys alone: the registry's credentials are copied to projects by name.
        _rule("", ["secrets"], ["get"]),
        _rule("", ["secrets"], ["update", "patch"], names=[KEYS, TOKEN, *_CERTIFICATES, *_ROUTES]),
        _rule("", ["configmaps"], ["create"]),
        _rule("", ["configmaps"], ["patch"], names=[INSTALLATION]),
        _rule("coordination.k8s.io", ["leases"], ["get", "create", "update", "patch"]),
        _rule("", ["services"], _WRITE),
        _rule("gateway.networking.k8s.io", ["gateways", *_GATEWAY_ROUTES], _WRITE),
        # To find out what the cluster can do: one is tried and never made.
        _rule("", ["pods"], ["create"]),
    ]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata(NAME),
        "rules": list(rules),
    }


def own_binding() -> Tree:
    """The account has the rights of the role of its own namespace."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(NAME),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
        "subjects": [_subject()],
    }


def priority_class(rung: Rung) -> Tree:
    """How important the pods of one kind are among all of the cluster."""
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": rung.name, "labels": LABELS, "annotations": _KEPT},
        **priorities.said(rung),
    }


def database_secret() -> Tree:
    """Where PostgreSQL is, with its password."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(DATABASE),
        "type": "Opaque",
        "data": {"url": Base64("database.url")},
    }


def volume_claim() -> Tree:
    """The volume of records and models' files."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {**metadata(NAME), "annotations": _KEPT},
        "spec": {
            "accessModes": [Value("storage.access_mode")],
            "resources": {"requests": {"storage": Value("storage.size")}},
            "storageClassName": When(Given("storage.class_name"), Value("storage.class_name")),
        },
    }


def network_policy() -> Tree:
    """Of our pods only the ports that are meant to be asked can be; routers are told by the platform only."""
    ports: list[Tree] = [{"protocol": "TCP", "port": port} for port in (HTTP, HTTPS, SECOND, API)]
    # Services' own ports, wherever the cluster's nodes have theirs; nothing else listens up there.
    ports.append({"protocol": "TCP", "port": SECOND + 1, "endPort": 65_535})
    lower: Tree = {"protocol": "TCP", "port": 1024, "endPort": HEALTH - 1}
    ports.append(When(Other("bind.node_ports", NODE_PORTS), lower))
    own: Tree = {"matchLabels": OURS}
    inside: Tree = {"from": [{"podSelector": own}], "ports": [{"protocol": "TCP", "port": FACE}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(NAME),
        "spec": {"podSelector": own, "policyTypes": ["Ingress"], "ingress": [{"ports": ports}, inside]},
    }


def metadata(name: str) -> dict[str, Tree]:
    """Of an object in the platform's namespace."""
    return {"name": name, "namespace": Value(NAMESPACE), "labels": LABELS}


def database_reference() -> Tree:
    """Which Secret holds the database's address."""
    name: Tree = When(Given("database.secret"), Value("database.secret"), DATABASE)
    return {"secretKeyRef": {"name": name, "key": "url"}}


def _cluster_role(name: str, rules: list[Tree]) -> Tree:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": LABELS},
        "rules": rules,
    }


def _rule(group: str, resources: list[str], verbs: list[str], *, names: list[str] | None = None) -> Tree:
    found: dict[str, Tree] = {"apiGroups": [group], "resources": [*resources], "verbs": [*verbs]}
    return found | {"resourceNames": [*names]} if names else found


def _subject() -> Tree:
    return {"kind": "ServiceAccount", "name": NAME, "namespace": Value(NAMESPACE)}
