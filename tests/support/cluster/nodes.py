"""Nodes that go off and come back, as kube-controller-manager sees it: late, and with patience."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, condition, is_leaving, with_condition

OFF = "tests.modelyard.dev/off"
"""Annotation with which a test takes a node's power; nobody but its kubelet reads it."""
UNREACHABLE = "node.kubernetes.io/unreachable"
_SEEN = "tests.modelyard.dev/seen"
"""When its kubelet was last heard of, as its Lease says it in a real cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long it takes, in seconds; these are a cluster's own."""

    notice: float = 40.0
    """Until a node that is silent counts as lost (`--node-monitor-grace-period`)."""
    evict: float = 300.0
    """Until its pods are deleted, where they do not say otherwise (DefaultTolerationSeconds)."""


def is_off(hand: Hand, pod: Object) -> bool:
    """Whether the node of a pod has no power, so that nothing there runs or is told."""
    node = hand.get("Node", ("", pod["spec"].get("nodeName") or ""))
    return node is not None and _has_no_power(node)


def _has_no_power(node: Object) -> bool:
    return OFF in (node["metadata"].get("annotations") or {})


def lifecycle(hand: Hand, node: Object, patience: Patience) -> None:
    """One step of a node: believed to be well, lost, without pods, and well again."""
    now = hand.cluster.store.clock()
    seen = (node["metadata"].get("annotations") or {}).get(_SEEN)
    if not _has_no_power(node):
        if seen is not None:
            _came_back(hand, node)
        return
    if seen is None:
        hand.change(node, {"metadata": {"annotations": {_SEEN: str(now)}}})
    elif now - float(seen) >= patience.notice:
        _lose(hand, node, patience)


def _came_back(hand: Hand, node: Object) -> None:
    kept = [taint for taint in node.get("spec", {}).get("taints") or () if taint["key"] != UNREACHABLE]
    hand.change(node, {"metadata": {"annotations": {_SEEN: None}}, "spec": {"taints": kept or None}})
    _say(hand, node, {"type": "Ready", "status": "True", "reason": "KubeletReady"})


def _lose(hand: Hand, node: Object, patience: Patience) -> None:
    ready = condition(node.get("status", {}), "Ready")
    if ready.get("status") != "Unknown":
        message = "Kubelet stopped posting node status."
        new = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": message}
        _say(hand, node, new)
        taints = [{"key": UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")]
        hand.change(node, {"spec": {"taints": [*(node.get("spec", {}).get("taints") or ()), *taints]}})
        return
    lost = datetime.fromisoformat(ready["lastTransitionTime"]).timestamp()
    for pod in _pods(hand, node):
        _unready(hand, pod)
        seconds = _tolerated(pod, patience)
        if seconds is not None and hand.cluster.store.clock() - lost >= seconds:
            hand.event(pod, "TaintManagerEviction", "Marking for deletion Pod", kind="Normal")
            hand.delete(pod)


def _pods(hand: Hand, node: Object) -> Iterator[Object]:
    for pod in hand.list("Pod"):
        if pod["spec"].get("nodeName") == node["metadata"]["name"] and not is_leaving(pod):
            yield pod


def _unready(hand: Hand, pod: Object) -> None:
    """A pod of a lost node gets no requests any more."""
    if condition(pod.get("status", {}), "Ready").get("status") == "True":
        new = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
        now = hand.cluster.store.now()
        hand.status(pod, {"conditions": with_condition(pod.get("status", {}), new, now)})


def _tolerated(pod: Object, patience: Patience) -> float | None:
    """How long a pod stays on a node that is lost; None is for ever."""
    for each in pod["spec"].get("tolerations") or ():
        fits = each.get("key") in (None, "", UNREACHABLE) and each.get("effect") in (None, "", "NoExecute")
        if fits and (each.get("key") or each.get("operator") == "Exists"):
            seconds = each.get("tolerationSeconds")
            return None if seconds is None else float(seconds)
    return patience.evict


def _say(hand: Hand, node: Object, new: Object) -> None:
    now = hand.cluster.store.now()
    hand.status(node, {"conditions": with_condition(node.get("status", {}), new, now)})
