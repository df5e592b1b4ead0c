"""Whether a cluster's network seems to enforce NetworkPolicies: told by what runs on its nodes; pure.

The API takes policies in any cluster, and does not say who enforces them. So this names what was seen; only a
request that does not get through proves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.installing.verdict import Check

NAME = "network policies"
_ENFORCING = {
    "calico-node": "Calico", "canal": "Canal", "rke2-canal": "Canal", "cilium": "Cilium", "anetd": "Cilium",
    "antrea-agent": "Antrea", "kube-router": "kube-router", "weave-net": "Weave Net",
    "ovnkube-node": "OVN-Kubernetes", "kube-ovn-cni": "Kube-OVN", "azure-npm": "Azure NPM",
    "kube-network-policies": "kube-network-policies",
}  # fmt: skip
"""What enforces them, by the name of its DaemonSet."""
_AGENTS = {"aws-eks-nodeagent": "the agent of the Amazon VPC CNI"}
"""The same by the name of a container."""
_DEAF = {"kube-flannel-ds": "Flannel", "kube-flannel": "Flannel"}
"""Networks that do not, by themselves."""
_K3S = "+k3s"
_TRY = "only a request that is denied proves it: see 'Isolated projects' in the guide to Kubernetes"


def check(daemons: Sequence[Manifest], nodes: Sequence[Manifest]) -> Check:
    """One line; never a failure, as no feature but isolation needs them."""
    seen = sorted(set(_seen(daemons, nodes)))
    if seen:
        return _told(f"{', '.join(seen)} enforces them, unless told not to; {_TRY}")
    deaf = sorted({_DEAF[name] for name in map(_name, daemons) if name in _DEAF})
    if deaf:
        without = "does not enforce them, and nothing that does was seen: isolated projects are open"
        return _told(f"{', '.join(deaf)} {without}; install such as Calico or Cilium")
    return _told(f"nothing known was seen that enforces them; {_TRY}")


def _told(message: str) -> Check:
    return Check(name=NAME, ok=True, message=message)


def _seen(daemons: Sequence[Manifest], nodes: Sequence[Manifest]) -> Iterator[str]:
    for daemon in daemons:
        if _name(daemon) in _ENFORCING:
            yield _ENFORCING[_name(daemon)]
        spec = daemon.get("spec", {}).get("template", {}).get("spec", {})
        yield from (
            _AGENTS[each["name"]] for each in spec.get("containers") or () if each.get("name") in _AGENTS
        )
    if any(_K3S in str(_version(node)) for node in nodes):
        yield "k3s"


def _name(daemon: Manifest) -> str:
    return str(daemon["metadata"]["name"])


def _version(node: Manifest) -> str:
    return str(((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", ""))
