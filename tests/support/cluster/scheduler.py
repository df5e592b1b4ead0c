"""Where pods run, and why they do not, in the scheduler's own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from tests.support.cluster import quantities
from tests.support.cluster.store import Object, expression_fits
from tests.support.cluster.writing import Hand, is_leaving, with_condition

_ENDED = ("Succeeded", "Failed")


def schedule(hand: Hand, pod: Object) -> None:
    """Give a pod a node, or say why there is none for it."""
    if pod["spec"].get("nodeName") or is_leaving(pod):
        return
    nodes = hand.list("Node")
    why = {node["metadata"]["name"]: list(_obstacles(hand, pod, node)) for node in nodes}
    fitting = [node for node in nodes if not why[node["metadata"]["name"]]]
    now = hand.cluster.store.now()
    if fitting:
        beside = Counter(each["spec"].get("nodeName") for each in hand.list("Pod") if _are_twins(each, pod))

        def rank(node: Object) -> tuple[int, int, str]:
            name = node["metadata"]["name"]
            return -_preference(pod, node), beside[name], name

        best = min(fitting, key=rank)
        bound = {"type": "PodScheduled", "status": "True"}
        hand.change(pod, {"spec": {"nodeName": best["metadata"]["name"]}})
        hand.status(pod, {"conditions": with_condition(pod.get("status", {}), bound, now)})
        place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        hand.event(pod, "Scheduled", f"Successfully assigned {place} to {best['metadata']['name']}")
        return
    message = _message(len(nodes), why)
    unfit = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    conditions = with_condition(pod.get("status", {}), unfit, now)
    if conditions != pod.get("status", {}).get("conditions"):
        hand.status(pod, {"phase": "Pending", "conditions": conditions})
        hand.event(pod, "FailedScheduling", message, kind="Warning")


def _are_twins(one: Object, other: Object) -> bool:
    """Whether two pods are of one controller, and so better on different nodes."""
    owners = [{r["uid"] for r in pod["metadata"].get("ownerReferences", ())} for pod in (one, other)]
    return bool(owners[0] & owners[1])


def _message(count: int, why: Mapping[str, list[str]]) -> str:
    if not count:
        return "no nodes available to schedule pods"
    reasons = Counter(reason for each in why.values() for reason in each)
    helpless = sum(any(reason.startswith("node(s)") for reason in each) for each in why.values())
    victims = Counter(
        {
            "No preemption victims found for incoming pod": count - helpless,
            "Preemption is not helpful for scheduling": helpless,
        }
    )
    first, second = _listed(reasons), _listed(+victims)
    return f"0/{count} nodes are available: {first}. preemption: 0/{count} nodes are available: {second}."


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{n} {reason}" for reason, n in reasons.items()))


def _obstacles(hand: Hand, pod: Object, node: Object) -> Iterator[str]:
    """What the first filter that refuses the node says of it."""
    refused = _refused(pod["spec"], node)
    if refused:
        yield refused
        return
    free = _free(hand, node)
    for name, amount in requests(pod["spec"]).items():
        if amount > free.get(name, 0):
            yield "Too many pods" if name == "pods" else f"Insufficient {name}"


def _refused(spec: Mapping[str, Any], node: Object) -> str:
    labels = node["metadata"].get("labels") or {}
    if node.get("spec", {}).get("unschedulable"):
        return "node(s) were unschedulable"
    for taint in node.get("spec", {}).get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not _tolerated(spec, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    selector = spec.get("nodeSelector") or {}
    if any(labels.get(k) != v for k, v in selector.items()) or not _wanted(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    return ""


def requests(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod asks for, itself included."""
    found = {"pods": Decimal(1)}
    for container in spec.get("containers", ()):
        for name, amount in (container.get("resources", {}).get("requests") or {}).items():
            found[name] = found.get(name, Decimal(0)) + quantities.parse(amount)
    for container in spec.get("initContainers", ()):
        for name, amount in (container.get("resources", {}).get("requests") or {}).items():
            found[name] = max(found.get(name, Decimal(0)), quantities.parse(amount))
    return found


def _free(hand: Hand, node: Object) -> dict[str, Decimal]:
    allocatable = {"pods": "110", **node.get("status", {}).get("allocatable", {})}
    free = {name: quantities.parse(amount) for name, amount in allocatable.items()}
    for pod in hand.list("Pod"):
        here = pod["spec"].get("nodeName") == node["metadata"]["name"]
        if here and pod.get("status", {}).get("phase") not in _ENDED:
            for name, amount in requests(pod["spec"]).items():
                free[name] = free.get(name, Decimal(0)) - amount
    return free


def _tolerated(spec: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    return any(
        (not t.get("key") or t["key"] == taint["key"])
        and (t.get("operator") == "Exists" or t.get("value", "") == taint.get("value", ""))
        and t.get("effect") in (None, "", taint["effect"])
        for t in spec.get("tolerations") or ()
    )


def _wanted(spec: Mapping[str, Any], node: Object) -> bool:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term(node, term) for term in required["nodeSelectorTerms"])


def _preference(pod: Object, node: Object) -> int:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(each["weight"] for each in preferred if _term(node, each["preference"]))


def _term(node: Object, term: Mapping[str, Any]) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(expression_fits(labels, each) for each in term.get("matchExpressions") or ())
