"""The platform's own pod, and the Services by which it is reached."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.installing.foundation import (
    API,
    COMPONENT,
    HTTP,
    HTTPS,
    NAME,
    ROUTED,
    SELECTED,
    database_reference,
    metadata,
)
from modelyard.installing.pods import CONTAINER_SECURITY, POD_SECURITY, field, listens, probe, setting
from modelyard.installing.tree import (
    NAMESPACE,
    All,
    Condition,
    Equals,
    Given,
    Not,
    Some,
    Spread,
    Text,
    Tree,
    Value,
    When,
)

POSTGRESQL: Condition = Some((Given("database.url"), Given("database.secret")))
_HTTPS: Condition = Given("bind.https_port")
OWN_DOOR: Condition = Not(Given("routers.count"))
"""Whether the platform's pod is the router too."""
_ROUTES_REQUESTS: dict[str, Tree] = {
    **SELECTED,
    COMPONENT: When(OWN_DOOR, SELECTED[COMPONENT], ROUTED[COMPONENT]),
}
_STARTS_WITHIN_SECONDS = 300


def deployment() -> Tree:
    """The control plane. Another one starts only when the first is gone: the volume has one writer."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(NAME),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": SELECTED},
            "template": {"metadata": {"labels": SELECTED}, "spec": _pod()},
        },
    }


def service() -> Tree:
    """What pods of models and routers call the platform by."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(NAME),
        "spec": {
            "selector": SELECTED,
            "ports": [_port("api", API)],
        },
    }


def door() -> Tree:
    """What clients call the front door by, inside the cluster and outside."""
    node_port: Condition = Equals("bind.kind", "NodePort")
    outside: Condition = Equals("bind.kind", "LoadBalancer")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(f"{NAME}-door"),
        "spec": {
            "type": When(Some((node_port, outside)), Value("bind.kind"), "ClusterIP"),
            "loadBalancerIP": When(All((outside, Given("bind.ip"))), Value("bind.ip")),
            "selector": _ROUTES_REQUESTS,
            "ports": [
                {
                    "name": "http",
                    "port": When(outside, Value("bind.http_port"), HTTP),
                    "targetPort": "http",
                    "nodePort": When(node_port, Value("bind.http_port")),
                },
                When(
                    _HTTPS,
                    {
                        "name": "https",
                        "port": When(outside, Value("bind.https_port"), HTTPS),
                        "targetPort": "https",
                        "nodePort": When(node_port, Value("bind.https_port")),
                    },
                ),
            ],
        },
    }


def routing() -> Tree:
    """What a Gateway leads to: the routers, always by the same ports."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(f"{NAME}-router"),
        "spec": {"selector": _ROUTES_REQUESTS, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def settings_written() -> frozenset[str]:
    """Names of the environment's variables that follow from values."""
    entries = (entry.then if isinstance(entry, When) else entry for entry in _environment())
    return frozenset(str(entry["name"]) for entry in entries if isinstance(entry, Mapping))


def _pod() -> Tree:
    return {
        "serviceAccountName": NAME,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "nodeSelector": Value("control_plane.node_selector"),
        "tolerations": Value("control_plane.tolerations"),
        "imagePullSecrets": When(Given("images.pull_secret"), [{"name": Value("images.pull_secret")}]),
        "securityContext": POD_SECURITY,
        "containers": [_container()],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": NAME}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container() -> Tree:
    return {
        "name": "control-plane",
        "image": Text("{images.registry}/control-plane:{images.tag}"),
        "imagePullPolicy": Value("images.pull_policy"),
        "command": ["modelyard"],
        "args": ["up"],
        "env": _environment(),
        "ports": [
            When(OWN_DOOR, listens("http", HTTP, "bind.http_port")),
            When(All((OWN_DOOR, _HTTPS)), listens("https", HTTPS, "bind.https_port")),
            {"name": "api", "containerPort": API},
        ],
        "startupProbe": probe("/readyz", API) | {"failureThreshold": _STARTS_WITHIN_SECONDS // 5},
        "readinessProbe": probe("/readyz", API) | {"failureThreshold": 3},
        "livenessProbe": probe("/livez", API) | {"failureThreshold": 6},
        "resources": {
            "requests": {"cpu": Value("control_plane.cpu"), "memory": Value("control_plane.memory")},
            "limits": {"memory": Value("control_plane.memory")},
        },
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        ],
    }


def _environment() -> list[Tree]:
    """Settings that follow from values, and then the installation's own."""
    return [
        field("POD_NAME", "metadata.name"),
        setting("HOME", "/data"),
        setting("BACKEND__KIND", "kubernetes"),
        setting("KUBERNETES__SYSTEM_NAMESPACE", Value(NAMESPACE)),
        setting("KUBERNETES__NAMESPACE_PREFIX", Value("namespace_prefix")),
        setting("KUBERNETES__SERVING_IMAGE", Text("{images.registry}/{images.serving}:{images.tag}")),
        setting("KUBERNETES__FETCH_IMAGE", Text("{images.registry}/fetch:{images.tag}")),
        setting("KUBERNETES__PULL_POLICY", Value("images.pull_policy")),
        setting("KUBERNETES__PULL_SECRET", Value("images.pull_secret")),
        setting("KUBERNETES__ARTIFACT_URL", Text(f"http://{NAME}.{{{NAMESPACE}}}.svc:{API}")),
        setting("KUBERNETES__API_PORT", str(API)),
        setting("KUBERNETES__ROUTING", Value("routing")),
        setting("KUBERNETES__GATEWAY_CLASS", Value("gateway_class")),
        setting("KUBERNETES__ACCOUNT", NAME),
        setting("KUBERNETES__LEASE", "true"),
        When(Given("routers.count"), setting("KUBERNETES__ROUTERS", "true")),
        setting("SERVER__HOST", "0.0.0.0"),  # noqa: S104 - the pod's own network
        setting("SERVER__PORT", str(HTTP)),
        When(_HTTPS, setting("SERVER__HTTPS_PORT", str(HTTPS))),
        When(Given("bind.redirect"), setting("SERVER__REDIRECT_TO_HTTPS", "true")),
        setting("SERVER__DOMAIN", Value("domain")),
        setting("SERVER__PUBLIC_URL", Value("public_url")),
        # Whoever installs has the cluster's rights, and nobody gets in without the token that is made then.
        setting("SERVER__INSECURE", "true"),
        When(POSTGRESQL, {"name": "MODELYARD_STORE__URL", "valueFrom": database_reference()}),
        Spread("control_plane.env"),
    ]


def _port(name: str, port: int) -> Tree:
    return {"name": name, "port": port, "targetPort": name}
