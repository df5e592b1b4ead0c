"""Where pods run, and why they do not, in the scheduler's own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from tests.support.cluster import claims, preemption, quantities
from tests.support.cluster.store import Object, expression_fits, selected
from tests.support.cluster.writing import Hand, is_leaving, with_condition

_ENDED = ("Succeeded", "Failed")


def schedule(hand: Hand, pod: Object) -> None:
    """Give a pod a node, or say why there is none for it."""
    if pod["spec"].get("nodeName") or is_leaving(pod) or not claims.are_there(hand, pod):
        return
    nodes = hand.list("Node")
    missing = _missing_claim(hand, pod)
    if missing:
        said = f'0/{len(nodes)} nodes are available: persistentvolumeclaim "{missing}" not found. '
        help_ = f"{len(nodes)} Preemption is not helpful for scheduling"
        return _unfit(hand, pod, f"{said}preemption: 0/{len(nodes)} nodes are available: {help_}.")
    why = {node["metadata"]["name"]: list(_obstacles(hand, pod, node)) for node in nodes}
    fitting = [node for node in nodes if not why[node["metadata"]["name"]]]
    now = hand.cluster.store.now()
    if fitting:
        beside = Counter(each["spec"].get("nodeName") for each in hand.list("Pod") if _are_twins(each, pod))

        def rank(node: Object) -> tuple[int, int, str]:
            name = node["metadata"]["name"]
            return -_preference(pod, node) - _company(hand, pod, node), beside[name], name

        best = min(fitting, key=rank)
        claims.keep(hand, pod, claims.allocation(hand, pod, best) or {})
        bound = {"type": "PodScheduled", "status": "True"}
        _bind_claims(hand, pod)
        hand.change(pod, {"spec": {"nodeName": best["metadata"]["name"]}})
        hand.status(pod, {"conditions": with_condition(pod.get("status", {}), bound, now)})
        place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        hand.event(pod, "Scheduled", f"Successfully assigned {place} to {best['metadata']['name']}")
        return
    if preemption.makes_room(hand, pod, [node for node in nodes if not _refused(pod["spec"], node)], _free):
        return
    _unfit(hand, pod, _message(len(nodes), why))


def _unfit(hand: Hand, pod: Object, message: str) -> None:
    now = hand.cluster.store.now()
    unfit = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    conditions = with_condition(pod.get("status", {}), unfit, now)
    if conditions != pod.get("status", {}).get("conditions"):
        hand.status(pod, {"phase": "Pending", "conditions": conditions})
        hand.event(pod, "FailedScheduling", message, kind="Warning")


def _claims(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes") or ()
    return [v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v]


def _missing_claim(hand: Hand, pod: Object) -> str:
    """The first claim that a pod names and that is not there."""
    space = pod["metadata"]["namespace"]
    absent = (name for name in _claims(pod) if hand.get("PersistentVolumeClaim", (space, name)) is None)
    return next(absent, "")


def _bind_claims(hand: Hand, pod: Object) -> None:
    """As storage classes do that wait for the first pod."""
    for name in _claims(pod):
        claim = hand.get("PersistentVolumeClaim", (pod["metadata"]["namespace"], name))
        if claim is not None and claim.get("status", {}).get("phase") != "Bound":
            spec = claim["spec"]
            capacity = spec["resources"]["requests"]
            bound = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": capacity}
            hand.status(claim, bound)


def _are_twins(one: Object, other: Object) -> bool:
    """Whether two pods are of one controller, and so better on different nodes."""
    owners = [{r["uid"] for r in pod["metadata"].get("ownerReferences", ())} for pod in (one, other)]
    return bool(owners[0] & owners[1])


def _message(count: int, why: Mapping[str, list[str]]) -> str:
    if not count:
        return "no nodes available to schedule pods"
    reasons = Counter(reason for each in why.values() for reason in each)
    helpless = sum(
        any(reason.startswith("node(s)") or reason == claims.NO_DEVICE for reason in each)
        for each in why.values()
    )
    victims = Counter(
        {
            "No preemption victims found for incoming pod": count - helpless,
            "Preemption is not helpful for scheduling": helpless,
        }
    )
    first, second = _listed(reasons), _listed(+victims)
    still = " still not schedulable," if claims.NO_DEVICE in reasons else ""
    return (
        f"0/{count} nodes are available: {first}.{still} preemption: 0/{count} nodes are available: {second}."
    )


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{n} {reason}" for reason, n in reasons.items()))


def _obstacles(hand: Hand, pod: Object, node: Object) -> Iterator[str]:
    """What the first filter that refuses the node says of it."""
    refused = _refused(pod["spec"], node)
    if refused:
        yield refused
        return
    free = _free(hand, node)
    asked = preemption.requests(pod["spec"]).items()
    lacking = [name for name, amount in asked if amount > free.get(name, 0)]
    yield from ("Too many pods" if name == "pods" else f"Insufficient {name}" for name in lacking)
    if not lacking and claims.allocation(hand, pod, node) is None:
        yield claims.NO_DEVICE


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


def _free(hand: Hand, node: Object) -> dict[str, Decimal]:
    allocatable = {"pods": "110", **node.get("status", {}).get("allocatable", {})}
    free = {name: quantities.parse(amount) for name, amount in allocatable.items()}
    for pod in hand.list("Pod"):
        here = pod["spec"].get("nodeName") == node["metadata"]["name"]
        if here and pod.get("status", {}).get("phase") not in _ENDED:
            for name, amount in preemption.requests(pod["spec"]).items():
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


def _company(hand: Hand, pod: Object, node: Object) -> int:
    """How much the pod likes to be where those are that are on the node, or in its zone."""
    affinity = (pod["spec"].get("affinity") or {}).get("podAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(each["weight"] for each in preferred if _has(hand, pod, node, each["podAffinityTerm"]))


def _has(hand: Hand, pod: Object, node: Object, term: Mapping[str, Any]) -> bool:
    """Whether a pod that a term speaks of runs where the node is."""
    key, anywhere = term["topologyKey"], term.get("namespaceSelector") == {}
    here = (node["metadata"].get("labels") or {}).get(key)
    for each in hand.list("Pod"):
        place = hand.get("Node", ("", each["spec"].get("nodeName") or "-"))
        ended = each.get("status", {}).get("phase") in _ENDED
        if place is None or ended or (place["metadata"].get("labels") or {}).get(key) != here:
            continue
        mine = anywhere or each["metadata"]["namespace"] == pod["metadata"]["namespace"]
        if mine and here and selected(each["metadata"].get("labels") or {}, term.get("labelSelector") or {}):
            return True
    return False


def _term(node: Object, term: Mapping[str, Any]) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(expression_fits(labels, each) for each in term.get("matchExpressions") or ())
