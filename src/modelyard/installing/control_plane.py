"""The platform's own pod, and the Services by which it is reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.backends.kubernetes import priorities
from modelyard.installing import settled
from modelyard.installing.foundation import (
    API,
    COMPONENT,
    HTTP,
    HTTPS,
    NAME,
    ROUTED,
    SECOND,
    SELECTED,
    database_reference,
    metadata,
)
from modelyard.installing.pods import (
    CONTAINER_SECURITY,
    CONTROL_NODES,
    POD_SECURITY,
    field,
    listens,
    probe,
    setting,
)
from modelyard.installing.tree import (
    NAMESPACE,
    Above,
    All,
    Condition,
    Equals,
    Given,
    Not,
    Other,
    Some,
    Spread,
    Text,
    Tree,
    Value,
    When,
    filled,
    holds,
    plain,
)

POSTGRESQL: Condition = Some((Given("database.url"), Given("database.secret")))
_HTTPS: Condition = Given("bind.https_port")
_SECOND: Condition = Given("bind.second_http_port")
_ELSEWHERE: Condition = Not(Equals("bind.kind", "ClusterIP"))
"""Whether clients outside come by other ports than those of pods."""
SEVERAL: Condition = Above("control_plane.replicas", 1)
"""Whether there are control planes that follow the one that leads."""
OWN_DOOR: Condition = Not(Given("routers.count"))
"""Whether the platform's pod is the router too."""
_ROUTES_REQUESTS: dict[str, Tree] = {
    **SELECTED,
    COMPONENT: When(OWN_DOOR, SELECTED[COMPONENT], ROUTED[COMPONENT]),
}
_STARTS_WITHIN_SECONDS = 300
SHARED = ("artifacts", "environments", "tls", "wheels")
"""What several control planes share of the data directory; the rest is each one's own."""


def deployment() -> Tree:
    """The control plane. One alone has the volume to itself: the next starts when it is gone.

    Of several, one leads; a new one is ready before an old one goes, and whoever is left takes over.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(NAME),
        "spec": {
            "replicas": Value("control_plane.replicas"),
            "revisionHistoryLimit": 3,
            "strategy": When(
                SEVERAL,
                {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                {"type": "Recreate"},
            ),
            "selector": {"matchLabels": SELECTED},
            "template": {"metadata": {"labels": SELECTED}, "spec": _pod()},
        },
    }


def budget() -> Tree:
    """A drain of nodes takes one of several control planes at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(NAME),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": SELECTED}},
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
                When(
                    _SECOND,
                    {
                        "name": "second",
                        "port": When(outside, Value("bind.second_http_port"), SECOND),
                        "targetPort": "second",
                        "nodePort": When(node_port, Value("bind.second_http_port")),
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
        "spec": {
            "selector": _ROUTES_REQUESTS,
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http"},
                When(_SECOND, {"name": "second", "port": 81, "targetPort": "second"}),
            ],
        },
    }


def settings_written(values: Mapping[str, Any]) -> frozenset[str]:
    """Names of the environment's variables that follow from these values."""
    said = [each.then for each in (*_settled(), *_keys()) if holds(each.condition, values)]
    entries = [entry.then if isinstance(entry, When) else entry for entry in _fixed()]
    return frozenset(str(entry["name"]) for entry in (*entries, *said) if isinstance(entry, Mapping))


def told(values: Mapping[str, Any]) -> dict[str, str]:
    """What the platform finds in its environment, but for what only a cluster can fill in."""
    entries = filled(_environment(), values)
    return {
        each["name"]: each["value"]
        for each in entries
        if isinstance(each.get("name"), str) and isinstance(each.get("value"), str)
    }


def values_of_settings() -> dict[str, str]:
    """Which value a setting follows from that has another name."""
    entries = [entry.then if isinstance(entry, When) else entry for entry in _fixed()]
    pairs = ((each["name"], each.get("value")) for each in entries if isinstance(each, Mapping))
    return {settled.name(str(name)): value.name for name, value in pairs if isinstance(value, Value)}


def _pod() -> Tree:
    return {
        "serviceAccountName": NAME,
        "enableServiceLinks": False,
        "priorityClassName": priorities.SYSTEM,
        "terminationGracePeriodSeconds": 60,
        "nodeSelector": Value("control_plane.node_selector"),
        "tolerations": Value("control_plane.tolerations"),
        "affinity": CONTROL_NODES,
        "imagePullSecrets": When(Given("images.pull_secret"), [{"name": Value("images.pull_secret")}]),
        "topologySpreadConstraints": When(
            SEVERAL,
            [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": SELECTED},
                }
            ],
        ),
        "securityContext": POD_SECURITY,
        "containers": [_container()],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": NAME}},
            When(SEVERAL, {"name": "own", "emptyDir": {}}),
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
            When(All((OWN_DOOR, _SECOND)), listens("second", SECOND, "bind.second_http_port")),
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
            {"name": When(SEVERAL, "own", "data"), "mountPath": "/data"},
            *(
                When(SEVERAL, {"name": "data", "mountPath": f"/data/{each}", "subPath": each})
                for each in SHARED
            ),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        ],
    }


def _environment() -> list[Tree]:
    """Settings that follow from values, and then the installation's own."""
    return [*_fixed(), *_settled(), *_keys(), Spread("control_plane.env")]


def _settled() -> Iterator[When]:
    """Values that are settings: each is said where it is another than the setting is anyhow."""
    for name in settled.names():
        entry = setting(settled.variable(name), Text(f"{{{name}}}"))
        yield When(Other(name, plain(settled.default(name))), entry)


def _keys() -> Iterator[When]:
    """Who the platform is to the server of its bucket."""
    for name in ("access_key_id", "secret_access_key", "session_token"):
        key: dict[str, Tree] = {"name": Value("artifacts.secret"), "key": name}
        key |= {"optional": True} if name == "session_token" else {}
        entry: Tree = {"name": f"AWS_{name.upper()}", "valueFrom": {"secretKeyRef": key}}
        yield When(Given("artifacts.secret"), entry)


def _fixed() -> list[Tree]:
    """What the platform is told whatever it is to be like."""
    return [
        field("POD_NAME", "metadata.name"),
        field("POD_IP", "status.podIP"),
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
        When(_SECOND, setting("GATEWAY__SECOND_PORT", str(SECOND))),
        setting("GATEWAY__EXTERNAL_IP", Value("bind.external_ip")),
        setting("KUBERNETES__NODE_PORTS", Value("bind.node_ports")),
        When(_ELSEWHERE, setting("KUBERNETES__SHOWN_PORT", Text("{bind.http_port}"))),
        When(All((_ELSEWHERE, _HTTPS)), setting("KUBERNETES__SHOWN_HTTPS_PORT", Text("{bind.https_port}"))),
        When(
            All((_ELSEWHERE, _SECOND)),
            setting("KUBERNETES__SHOWN_SECOND_PORT", Text("{bind.second_http_port}")),
        ),
        When(Given("bind.ip"), setting("KUBERNETES__SHOWN_HOST", Value("bind.ip"))),
        When(Given("bind.redirect"), setting("SERVER__REDIRECT_TO_HTTPS", "true")),
        setting("SERVER__DOMAIN", Value("domain")),
        setting("SERVER__PUBLIC_URL", Value("public_url")),
        # Whoever installs has the cluster's rights, and nobody gets in without the token that is made then.
        setting("SERVER__INSECURE", "true"),
        When(POSTGRESQL, {"name": "MODELYARD_STORE__URL", "valueFrom": database_reference()}),
    ]


def _port(name: str, port: int) -> Tree:
    return {"name": name, "port": port, "targetPort": name}
