"""Takes the network away from pods that try models: they reach what lends them files, and nothing else."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import NETWORK_POLICY, Manifest
from modelyard.backends.kubernetes.render.desired import Settings

CLOSED = "closed"
"""Value of the label of pods that the policy is for."""
_NAMESPACE = "kubernetes.io/metadata.name"
_NODE_DNS = "169.254.20.10/32"
"""Where nodes that cache names answer; it is no pod, and selected by its address only."""


def closes(settings: Settings) -> bool:
    """Whether a policy can allow what such pods need: their files' address, if it is of the cluster or plain.

    Policies know pods and addresses, and no names of the world outside.
    """
    return bool(_lender(settings))


def policy(project: str, namespace: str, settings: Settings) -> Manifest:
    """Of a project: its closed pods are asked by nobody, and ask only the platform; see `closes`."""
    egress = [{"to": _lender(settings)}]
    if not _address(settings):
        egress.append(_dns())
    return {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": NETWORK_POLICY.name,
        "metadata": {
            "name": "modelyard-closed",
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER, names.PROJECT: project},
        },
        "spec": {
            "podSelector": {"matchLabels": {names.NETWORK: CLOSED}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
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
