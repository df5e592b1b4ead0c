"""How a scheduler makes room for a pod that is more important than others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tests.support.cluster import quantities
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, is_leaving, with_condition

Free = Callable[[Hand, Object], dict[str, Decimal]]
_ENDED = ("Succeeded", "Failed")
_WHY = "default-scheduler: preempting to accommodate a higher priority pod"


def requests(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod asks for, itself included."""
    found = {"pods": Decimal(1)}
    first = spec.get("initContainers", ())
    beside = [each for each in first if each.get("restartPolicy") == "Always"]
    for container in (*spec.get("containers", ()), *beside):
        for name, amount in (container.get("resources", {}).get("requests") or {}).items():
            found[name] = found.get(name, Decimal(0)) + quantities.parse(amount)
    for container in first:
        for name, amount in (container.get("resources", {}).get("requests") or {}).items():
            found[name] = max(found.get(name, Decimal(0)), quantities.parse(amount))
    return found


def makes_room(hand: Hand, pod: Object, nodes: Sequence[Object], free: Free) -> bool:
    """Whether others are on their way out for it; evicts the fewest and least important that do."""
    if pod["spec"].get("preemptionPolicy") == "Never":
        return False
    found = [(node, victims) for node in nodes if (victims := _victims(hand, pod, node, free)) is not None]
    if not found:
        return False
    node, victims = min(
        found, key=lambda each: (max(map(_rank, each[1])), len(each[1]), each[0]["metadata"]["name"])
    )
    for victim in (each for each in victims if not is_leaving(each)):
        _evict(hand, victim, f"Preempted by pod {pod['metadata']['uid']} on node {node['metadata']['name']}")
    return True


def _evict(hand: Hand, victim: Object, message: str) -> None:
    said = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": _WHY}
    conditions = with_condition(victim.get("status", {}), said, hand.cluster.store.now())
    hand.status(victim, {"conditions": conditions})
    hand.event(victim, "Preempted", message)
    hand.delete(victim)


def _victims(hand: Hand, pod: Object, node: Object, free: Free) -> list[Object] | None:
    """Who has to go from a node: those that go already, and then the least important and youngest first."""
    left, needed = free(hand, node), requests(pod["spec"])
    lower = [
        each
        for each in hand.list("Pod")
        if each["spec"].get("nodeName") == node["metadata"]["name"]
        and each.get("status", {}).get("phase") not in _ENDED
        and (is_leaving(each) or _rank(each) < _rank(pod))
    ]
    chosen: list[Object] = []
    for each in sorted(lower, key=_order):
        if _fits(needed, left):
            break
        chosen.append(each)
        for name, amount in requests(each["spec"]).items():
            left[name] = left.get(name, Decimal(0)) + amount
    return chosen if chosen and _fits(needed, left) else None


def _fits(needed: Mapping[str, Decimal], left: Mapping[str, Decimal]) -> bool:
    return all(amount <= left.get(name, 0) for name, amount in needed.items())


def _order(pod: Object) -> tuple[bool, int, int]:
    return not is_leaving(pod), _rank(pod), -int(pod["metadata"]["resourceVersion"])


def _rank(pod: Object) -> int:
    return int(pod["spec"].get("priority", 0))
