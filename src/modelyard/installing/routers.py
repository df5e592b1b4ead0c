"""The routers: gateways as pods of their own, which go on while the platform is away or is renewed."""

from __future__ import annotations

from modelyard.backends.kubernetes import priorities
from modelyard.installing.foundation import (
    API,
    FACE,
    HEALTH,
    HTTP,
    HTTPS,
    LABELS,
    NAME,
    ROUTED,
    SECOND,
    TOKEN,
    metadata,
)
from modelyard.installing.pods import CONTAINER_SECURITY, CONTROL_NODES, POD_SECURITY, listens, probe, setting
from modelyard.installing.tree import NAMESPACE, All, Equals, Given, Not, Text, Tree, Value, When

_PIECES = 4
"""Secrets with the last routes that a router has mounted; one holds some thousands of services."""
_DRAIN_SECONDS = 60
_PACE: Tree = When(
    # A port of a node is free only when the one before is gone.
    Equals("bind.kind", "HostPort"),
    {"maxUnavailable": 1, "maxSurge": 0},
    {"maxUnavailable": 0, "maxSurge": 1},
)
_SHOWN = "/etc/modelyard-router"
_COPY = "/etc/modelyard-routes"
_STATE = "/var/lib/modelyard-router"


def deployment() -> Tree:
    """As many routers as values say, each on a node of its own where there are enough."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(f"{NAME}-router"),
        "spec": {
            "replicas": Value("routers.count"),
            "revisionHistoryLimit": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _PACE},
            "selector": {"matchLabels": ROUTED},
            "template": {"metadata": {"labels": ROUTED}, "spec": _pod()},
        },
    }


def budget() -> Tree:
    """A drain of nodes takes one router at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(f"{NAME}-router"),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": ROUTED}},
    }


def account() -> Tree:
    """Routers ask nothing of the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": f"{NAME}-router", "namespace": Value(NAMESPACE), "labels": LABELS},
        "automountServiceAccountToken": False,
    }


def _pod() -> Tree:
    return {
        "serviceAccountName": f"{NAME}-router",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": priorities.SYSTEM,
        "terminationGracePeriodSeconds": _DRAIN_SECONDS + 15,
        "nodeSelector": Value("routers.node_selector"),
        "tolerations": Value("routers.tolerations"),
        "affinity": CONTROL_NODES,
        "imagePullSecrets": When(Given("images.pull_secret"), [{"name": Value("images.pull_secret")}]),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": ROUTED},
            }
        ],
        "securityContext": POD_SECURITY,
        "containers": [_container()],
        "volumes": [
            {"name": "state", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "token", "secret": {"secretName": TOKEN}},
            *_copies(),
        ],
    }


def _copies() -> list[Tree]:
    """Secrets that come and go with the number of services."""
    return [
        {"name": f"routes-{number}", "secret": {"secretName": f"modelyard-routes-{number}", "optional": True}}
        for number in range(_PIECES)
    ]


def _container() -> Tree:
    return {
        "name": "router",
        "image": Text("{images.registry}/control-plane:{images.tag}"),
        "imagePullPolicy": Value("images.pull_policy"),
        "command": ["modelyard"],
        "args": ["router"],
        "env": [
            setting("ROUTER_HOST", "0.0.0.0"),  # noqa: S104 - the pod's own network
            setting("ROUTER_PORT", str(HTTP)),
            When(Given("bind.https_port"), setting("ROUTER_HTTPS_PORT", str(HTTPS))),
            When(Given("bind.second_http_port"), setting("ROUTER_SECOND_PORT", str(SECOND))),
            When(Given("bind.redirect"), setting("ROUTER_REDIRECT", "true")),
            # Inside the cluster the Service has the router's own number, whatever values say of the port.
            When(
                All((Given("bind.redirect"), Not(Equals("bind.kind", "ClusterIP")))),
                setting("ROUTER_REDIRECT_PORT", Text("{bind.https_port}")),
            ),
            setting("ROUTER_FACE_PORT", str(FACE)),
            setting("ROUTER_HEALTH_PORT", str(HEALTH)),
            setting("ROUTER_API", Text(f"{NAME}.{{{NAMESPACE}}}.svc:{API}")),
            setting("ROUTER_DIRECTORY", _STATE),
            setting("ROUTER_COPY", _COPY),
            setting("ROUTER_TOKEN_FILE", f"{_SHOWN}/token"),
            setting("ROUTER_CERTIFICATES", _SHOWN),
            setting("ROUTER_DOMAIN", Value("domain")),
            setting("ROUTER_DRAIN_SECONDS", str(_DRAIN_SECONDS)),
        ],
        "ports": [
            listens("http", HTTP, "bind.http_port"),
            When(Given("bind.https_port"), listens("https", HTTPS, "bind.https_port")),
            When(Given("bind.second_http_port"), listens("second", SECOND, "bind.second_http_port")),
            # Named `face` it would be spoken to without TLS, as routers of earlier releases are.
            {"name": "face-tls", "containerPort": FACE},
            {"name": "health", "containerPort": HEALTH},
        ],
        "startupProbe": probe("/livez", HEALTH) | {"failureThreshold": 24},
        "readinessProbe": probe("/readyz", HEALTH) | {"failureThreshold": 2},
        "livenessProbe": probe("/livez", HEALTH) | {"failureThreshold": 6},
        "resources": {
            "requests": {"cpu": Value("routers.cpu"), "memory": Value("routers.memory")},
            "limits": {"memory": Value("routers.memory")},
        },
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "state", "mountPath": _STATE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "token", "mountPath": _SHOWN, "readOnly": True},
            *(
                {"name": f"routes-{number}", "mountPath": f"{_COPY}/{number}", "readOnly": True}
                for number in range(_PIECES)
            ),
        ],
    }
