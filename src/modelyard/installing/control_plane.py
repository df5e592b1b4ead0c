"""The platform's own pod, and the Services by which it is reached."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.installing.foundation import API, HTTP, HTTPS, NAME, SELECTED, database_reference, metadata
from modelyard.installing.tree import (
    NAMESPACE,
    All,
    Condition,
    Equals,
    Given,
    Some,
    Spread,
    Text,
    Tree,
    Value,
    When,
)

USER = 10_001
POSTGRESQL: Condition = Some((Given("database.url"), Given("database.secret")))
_HTTPS: Condition = Given("bind.https_port")
_ON_HOST: Condition = Equals("bind.kind", "HostPort")
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
    """What pods of the cluster call the platform by."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(NAME),
        "spec": {
            "selector": SELECTED,
            "ports": [
                _port("http", HTTP),
                When(_HTTPS, _port("https", HTTPS)),
                _port("api", API),
            ],
        },
    }


def door() -> Tree:
    """What clients outside the cluster call the platform by."""
    node_port: Condition = Equals("bind.kind", "NodePort")
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(f"{NAME}-door"),
        "spec": {
            "type": Value("bind.kind"),
            "loadBalancerIP": When(Given("bind.ip"), Value("bind.ip")),
            "externalTrafficPolicy": "Cluster",
            "selector": SELECTED,
            "ports": [
                {
                    "name": "http",
                    "port": When(node_port, HTTP, Value("bind.http_port")),
                    "targetPort": "http",
                    "nodePort": When(node_port, Value("bind.http_port")),
                },
                When(
                    _HTTPS,
                    {
                        "name": "https",
                        "port": When(node_port, HTTPS, Value("bind.https_port")),
                        "targetPort": "https",
                        "nodePort": When(node_port, Value("bind.https_port")),
                    },
                ),
            ],
        },
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
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
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
        "args": ["up"],
        "env": _environment(),
        "ports": [
            _listens("http", HTTP, "bind.http_port"),
            When(_HTTPS, _listens("https", HTTPS, "bind.https_port")),
            {"name": "api", "containerPort": API},
        ],
        "startupProbe": _probe("/readyz") | {"failureThreshold": _STARTS_WITHIN_SECONDS // 5},
        "readinessProbe": _probe("/readyz") | {"failureThreshold": 3},
        "livenessProbe": _probe("/livez") | {"failureThreshold": 6},
        "resources": {
            "requests": {"cpu": Value("control_plane.cpu"), "memory": Value("control_plane.memory")},
            "limits": {"memory": Value("control_plane.memory")},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        ],
    }


def _environment() -> list[Tree]:
    """Settings that follow from values, and then the installation's own."""
    return [
        _field("POD_NAME", "metadata.name"),
        _field("POD_IP", "status.podIP"),
        _setting("HOME", "/data"),
        _setting("BACKEND__KIND", "kubernetes"),
        _setting("KUBERNETES__SYSTEM_NAMESPACE", Value(NAMESPACE)),
        _setting("KUBERNETES__NAMESPACE_PREFIX", Value("namespace_prefix")),
        _setting("KUBERNETES__SERVING_IMAGE", Text("{images.registry}/serving:{images.tag}")),
        _setting("KUBERNETES__FETCH_IMAGE", Text("{images.registry}/fetch:{images.tag}")),
        _setting("KUBERNETES__PULL_POLICY", Value("images.pull_policy")),
        _setting("KUBERNETES__PULL_SECRET", Value("images.pull_secret")),
        _setting("KUBERNETES__ARTIFACT_URL", Text(f"http://{NAME}.{{{NAMESPACE}}}.svc:{API}")),
        _setting("KUBERNETES__API_PORT", str(API)),
        _setting("KUBERNETES__LEASE", "true"),
        _setting("SERVER__HOST", "0.0.0.0"),  # noqa: S104 - the pod's own network
        _setting("SERVER__PORT", str(HTTP)),
        When(_HTTPS, _setting("SERVER__HTTPS_PORT", str(HTTPS))),
        When(Given("bind.redirect"), _setting("SERVER__REDIRECT_TO_HTTPS", "true")),
        _setting("SERVER__DOMAIN", Value("domain")),
        _setting("SERVER__PUBLIC_URL", Value("public_url")),
        # Whoever installs has the cluster's rights, and nobody gets in without the token that is made then.
        _setting("SERVER__INSECURE", "true"),
        When(POSTGRESQL, {"name": "MODELYARD_STORE__URL", "valueFrom": database_reference()}),
        Spread("control_plane.env"),
    ]


def _setting(name: str, value: Tree) -> Tree:
    return {"name": f"MODELYARD_{name}", "value": value}


def _field(name: str, path: str) -> Tree:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _port(name: str, port: int) -> Tree:
    return {"name": name, "port": port, "targetPort": name}


def _listens(name: str, port: int, outside: str) -> Tree:
    return {
        "name": name,
        "containerPort": port,
        "hostPort": When(_ON_HOST, Value(outside)),
        "hostIP": When(All((_ON_HOST, Given("bind.ip"))), Value("bind.ip")),
    }


def _probe(path: str) -> dict[str, Tree]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": 5,
        "timeoutSeconds": 5,
    }
