"""How a cluster gets what its GPUs lack, by the distribution that it is; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelyard.backends.kubernetes.kinds import Manifest

OPERATOR = (
    "install NVIDIA's GPU Operator: `helm install gpu-operator nvidia/gpu-operator -n gpu-operator "
    "--create-namespace`"
)
_MICROK8S = "run `microk8s enable nvidia` on a node, which installs NVIDIA's GPU Operator"
_K3S = (
    "install NVIDIA's container toolkit on the node and restart k3s, which then finds the runtime by itself; "
    f"for the rest {OPERATOR} --set toolkit.enabled=false"
)
_EVERYWHERE = f"{OPERATOR}, on MicroK8s `microk8s enable nvidia`"


def stack(nodes: Iterable[Manifest]) -> str:
    """The one command that brings device plugin and labels to this cluster."""
    found = tuple(nodes)
    if any("microk8s.io/cluster" in labels(node) for node in found):
        return _MICROK8S
    versions = {str(info(node).get("kubeletVersion") or "") for node in found}
    if any("+k3s" in each or "+rke2" in each for each in versions):
        return _K3S
    return _EVERYWHERE


def labels(node: Manifest) -> Mapping[str, str]:
    """A node's labels."""
    return (node.get("metadata") or {}).get("labels") or {}


def info(node: Manifest) -> Mapping[str, str]:
    """What a node's kubelet says of itself."""
    return (node.get("status") or {}).get("nodeInfo") or {}


def name(manifest: Manifest) -> str:
    """What an object is called."""
    return str(manifest["metadata"]["name"])
