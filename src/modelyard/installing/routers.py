"""Routers as pods of their own: any number of them, which serve while the platform's own pod is away."""

from __future__ import annotations

from modelyard.gateway.remote.copy import BODY, HEAD, MOST_PIECES
from modelyard.installing.control_plane import USER
from modelyard.installing.foundation import API, HTTP, HTTPS, NAME, metadata
from modelyard.installing.tree import NAMESPACE, Condition, Given, Text, Tree, Value, When

ROUTER = f"{NAME}-router"
FACE = 8079
"""Where the platform talks to a router."""
SECOND = 8082
SELECTED: dict[str, Tree] = {
    "app.kubernetes.io/name": "modelyard",
    "app.kubernetes.io/component": "router",
}
THERE: Condition = Given("routers.replicas")
"""Whether there are any; without, an Envoy beside the API does it."""
_HTTPS: Condition = Given("bind.https_port")
_LEAVE_SECONDS, _DRAIN_SECONDS = 10, 60
"""A router serves on for so long after it was told to end, and lets what is in flight end for so long."""
_STATE, _RUN, _TOKEN, _COPY = "/var/lib/modelyard-router", "/run/modelyard", "/etc/modelyard-router", "/copy"


def deployment() -> Tree:
    """The routers. A new one is ready before an old one goes, and each on a node of its own where it can."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(ROUTER),
        "spec": {
            "replicas": Value("routers.replicas"),
            "revisionHistoryLimit": 3,
            "minReadySeconds": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": SELECTED},
            "template": {"metadata": {"labels": SELECTED}, "spec": _pod()},
        },
    }


def service() -> Tree:
    """What a Gateway of the cluster leads to, and what pods call services by."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(ROUTER),
        "spec": {
            "selector": SELECTED,
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http"},
                {"name": "second", "port": 81, "targetPort": "second"},
                When(_HTTPS, {"name": "https", "port": 443, "targetPort": "https"}),
            ],
        },
    }


def budget() -> Tree:
    """Of several routers all but one stay when nodes are emptied."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(ROUTER),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": SELECTED}},
    }


def _pod() -> Tree:
    spread: Tree = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": SELECTED},
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _LEAVE_SECONDS + _DRAIN_SECONDS + 10,
        "nodeSelector": Value("routers.node_selector"),
        "tolerations": Value("routers.tolerations"),
        "topologySpreadConstraints": [spread],
        "imagePullSecrets": When(Given("images.pull_secret"), [{"name": Value("images.pull_secret")}]),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container()],
        "volumes": [
            {"name": "state", "emptyDir": {}},
            {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "token", "secret": {"secretName": ROUTER, "defaultMode": 0o440}},
            {"name": "copy", "projected": {"defaultMode": 0o440, "sources": _pieces()}},
        ],
    }


def _pieces() -> list[Tree]:
    """The copy of the last routes, as far as it was ever written."""
    found: list[Tree] = []
    for number in range(MOST_PIECES):
        items: list[Tree] = [{"key": name, "path": f"{number}/{name}"} for name in (HEAD, BODY)]
        found.append({"secret": {"name": f"modelyard-routes-{number}", "optional": True, "items": items}})
    return found


def _container() -> Tree:
    said: dict[str, Tree] = {
        "API": Text(f"{NAME}.{{{NAMESPACE}}}.svc:{API}"),
        "PORT": str(HTTP),
        "SECOND_PORT": str(SECOND),
        "FACE_PORT": str(FACE),
        "DIRECTORY": _STATE,
        "SOCKETS": _RUN,
        "TOKEN_FILE": f"{_TOKEN}/token",
        "COPY": _COPY,
        "DOMAIN": Value("domain"),
        "LEAVE_SECONDS": str(_LEAVE_SECONDS),
        "DRAIN_SECONDS": str(_DRAIN_SECONDS),
        "CONCURRENCY": Text("{routers.threads}"),
    }
    entries: list[Tree] = [
        {
            "name": "MODELYARD_ROUTER_HOST",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}},
        },
        *({"name": f"MODELYARD_ROUTER_{name}", "value": value} for name, value in said.items()),
        When(_HTTPS, {"name": "MODELYARD_ROUTER_HTTPS_PORT", "value": str(HTTPS)}),
        When(Given("bind.redirect"), {"name": "MODELYARD_ROUTER_REDIRECT", "value": "true"}),
    ]
    ready: Tree = {
        "httpGet": {"path": "/readyz", "port": "face"},
        "periodSeconds": 2,
        "timeoutSeconds": 3,
        "failureThreshold": 2,
    }
    live: Tree = {
        "httpGet": {"path": "/livez", "port": "face"},
        "initialDelaySeconds": 10,
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": 6,
    }
    mounts = (("state", _STATE), ("run", _RUN), ("tmp", "/tmp"), ("token", _TOKEN), ("copy", _COPY))  # noqa: S108
    return {
        "name": "router",
        "image": Text("{images.registry}/control-plane:{images.tag}"),
        "imagePullPolicy": Value("images.pull_policy"),
        "args": ["router"],
        "env": entries,
        "ports": [
            {"name": "http", "containerPort": HTTP},
            {"name": "second", "containerPort": SECOND},
            When(_HTTPS, {"name": "https", "containerPort": HTTPS}),
            {"name": "face", "containerPort": FACE},
        ],
        "readinessProbe": ready,
        "livenessProbe": live,
        "resources": {
            "requests": {"cpu": Value("routers.cpu"), "memory": Value("routers.memory")},
            "limits": {"memory": Value("routers.memory")},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": name, "mountPath": path, **({"readOnly": True} if name in ("token", "copy") else {})}
            for name, path in mounts
        ],
    }
