"""Who reaches whom in a project's namespace, as far as policies of the network can say it.

Pods that try models reach what lends them files, and nothing else. Pods of an isolated project are reached by
the platform, by their own namespace and by whom the project lets in, and by nobody else.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import NETWORK_POLICY, Manifest
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.network import Network

CLOSED = "closed"
"""Value of the label of pods that the policy is for."""
ISOLATED = "modelyard-isolated"
CLOSING = "modelyard-closed"
OFF = "not enforced (kubernetes.network_policies is off)"
OUTSIDE = (
    "not enforced: the platform runs outside of the cluster, and no NetworkPolicy can name it; set "
    "kubernetes.platform_cidrs to the addresses by which its questions come in"
)
_NAMESPACE = "kubernetes.io/metadata.name"
_NODE_DNS = "169.254.20.10/32"
"""Where nodes that cache names answer; it is no pod, and selected by its address only."""


def closes(settings: Settings) -> bool:
    """Whether a policy can allow what such pods need: their files' address, if it is of the cluster or plain.

    Policies know pods and addresses, and no names of the world outside. Settings may want none.
    """
    return settings.network_policies and bool(_lender(settings))


def policy(project: str, namespace: str, settings: Settings) -> Manifest:
    """Of a project: its closed pods are asked by nobody, and ask only the platform; see `closes`."""
    egress = [{"to": _lender(settings)}]
    if not _address(settings):
        egress.append(_dns())
    return _head(CLOSING, project, namespace) | {
        "spec": {
            "podSelector": {"matchLabels": {names.NETWORK: CLOSED}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
        },
    }


def hinders(settings: Settings) -> str:
    """Why no project can be isolated here; empty when policies can name whoever asks for the platform."""
    if not settings.network_policies:
        return OFF
    return "" if settings.platform_inside or settings.platform_cidrs else OUTSIDE


def isolation(project: str, namespace: str, settings: Settings, network: Network) -> Manifest | None:
    """Of a project: whom its services and tasks let in; None for one that is open, or cannot be isolated.

    What the kubelet asks needs no rule: a pod's own node always reaches it.
    """
    if not network.isolated or hinders(settings):
        return None
    allowed = {*map(settings.namespace, network.allow_projects), *network.allow_namespaces}
    peers: list[dict[str, Any]] = [{"podSelector": {}}]
    if settings.platform_inside:
        peers.append(_pods_of(settings.system_namespace))
    if allowed:
        peers.append(_pods_of(*sorted(allowed)))
    peers += ({"ipBlock": {"cidr": cidr}} for cidr in settings.platform_cidrs)
    return _head(ISOLATED, project, namespace) | {
        "spec": {
            # Policies add up, and what is closed is to be asked by nobody.
            "podSelector": {
                "matchExpressions": [
                    {"key": names.WORKLOAD, "operator": "Exists"},
                    {"key": names.NETWORK, "operator": "NotIn", "values": [CLOSED]},
                ]
            },
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers}],
        },
    }


def _pods_of(*namespaces: str) -> dict[str, Any]:
    """All pods of these namespaces, by the label with their name that the cluster itself gives them."""
    wanted = {"key": _NAMESPACE, "operator": "In", "values": [*namespaces]}
    return {"namespaceSelector": {"matchExpressions": [wanted]}}


def _head(name: str, project: str, namespace: str) -> Manifest:
    return {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.name,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER, names.PROJECT: project},
        },
    }


def _lender(settings: Settings) -> list[dict[str, Any]]:
    """Whom files are fetched from, in a policy's words; nothing when it has none for it."""
    if block := _address(settings):
        return [{"ipBlock": {"cidr": block}}]
    words = _host(settings).split(".")
    if len(words) > 1 and words[1] == settings.system_namespace and words[2:3] in ([], ["svc"]):
        return [{"namespaceSelector": {"matchLabels": {_NAMESPACE: settings.system_namespace}}}]
    return []


def _address(settings: Settings) -> str:
    try:
        return str(ipaddress.ip_network(_host(settings)))
    except ValueError:
        return ""


def _host(settings: Settings) -> str:
    return urlsplit(settings.artifact_url).hostname or ""


def _dns() -> dict[str, Any]:
    ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    names_of = {"namespaceSelector": {"matchLabels": {_NAMESPACE: "kube-system"}}}
    return {"to": [names_of, {"ipBlock": {"cidr": _NODE_DNS}}], "ports": ports}
