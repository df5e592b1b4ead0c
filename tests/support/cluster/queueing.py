"""Kueue, as far as the platform meets it: jobs begin in order, by quota, and borrow within a cohort."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from decimal import Decimal

from tests.support.cluster import quantities
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, condition, is_leaving, reference, with_condition

QUEUE = "kueue.x-k8s.io/queue-name"
JOB_UID = "kueue.x-k8s.io/job-uid"
_FINAL = ("Complete", "Failed")
_Held = tuple[str, Mapping[str, Decimal]]
"""A ClusterQueue, and what of it is given away."""


def job(hand: Hand, value: Object) -> None:
    """One step of a job with a queue: it has a Workload, and runs while that is admitted."""
    metadata = value["metadata"]
    if QUEUE not in metadata.get("labels", {}) or is_leaving(value):
        return
    namespace, name = metadata["namespace"], metadata["name"]
    named = f"job-{name}-{zlib.crc32(metadata['uid'].encode()):08x}"[-63:]
    found = hand.get("Workload", (namespace, named))
    work = {**found} if found else None
    if work is None:
        pods = {"name": "main", "count": value["spec"]["parallelism"], "template": value["spec"]["template"]}
        head = {"name": named, "labels": {JOB_UID: metadata["uid"]}, "ownerReferences": reference(value)}
        spec = {"queueName": metadata["labels"][QUEUE], "podSets": [pods], "active": True, "priority": 0}
        hand.create("Workload", namespace, {"metadata": head, "spec": spec})
        hand.change(value, {"spec": {"suspend": True}})
        return
    ended = [c for c in value.get("status", {}).get("conditions", ()) if c["type"] in _FINAL]
    if ended:
        _say(hand, work, "Finished", True, "JobFinished", ended[0].get("message", ""))
        return
    hand.change(value, {"spec": {"suspend": not _is(work, "Admitted")}})


def admit(hand: Hand) -> None:
    """One round: what lies within a queue's own quota first, then by priority and age, each if it fits."""
    works = [{**w} for w in hand.list("Workload") if not _is(w, "Finished") and not is_leaving(w)]
    for each in works:
        if _is(each, "QuotaReserved") and each["spec"].get("active") is False:
            _evict(hand, each, "Deactivated", "The workload is deactivated")
    queues = {q["metadata"]["name"]: q for q in hand.list("ClusterQueue")}
    reserved = [each for each in works if _is(each, "QuotaReserved")]
    held: list[_Held] = [(each["status"]["admission"]["clusterQueue"], _asked(each)) for each in reserved]
    waiting = _waiting(hand, [each for each in works if not _is(each, "QuotaReserved")], queues)
    while waiting:
        waiting.sort(key=lambda pair: _turn(*pair, held))
        work, queue = waiting.pop(0)
        cohort = queue["spec"].get("cohortName")
        peers = [q for q in queues.values() if cohort and q["spec"].get("cohortName") == cohort] or [queue]
        lack = _lacking(queue, _asked(work), _used(held, peers), _nominal(peers))
        if lack:
            _pend(hand, work, "Pending", f"couldn't assign flavors to pod set main: {lack}")
            continue
        held.append((queue["metadata"]["name"], _asked(work)))
        _let(hand, work, queue)


def _waiting(
    hand: Hand, works: Iterable[Object], queues: Mapping[str, Object]
) -> list[tuple[Object, Object]]:
    """What waits, with its ClusterQueue; what has none is told so."""
    locals_ = {(q["metadata"]["namespace"], q["metadata"]["name"]): q for q in hand.list("LocalQueue")}
    found = []
    for each in works:
        place = each["metadata"]["namespace"], each["spec"]["queueName"]
        named = locals_[place]["spec"]["clusterQueue"] if place in locals_ else ""
        if not named:
            _pend(hand, each, "Inadmissible", f"LocalQueue {place[1]} doesn't exist")
        elif named not in queues:
            _pend(hand, each, "Inadmissible", f"ClusterQueue {named} doesn't exist")
        elif each["spec"].get("active") is not False:
            found.append((each, queues[named]))
    return found


def _turn(work: Object, queue: Object, held: Iterable[_Held]) -> tuple[bool, int, str]:
    borrows = _lacking(queue, _asked(work), _used(held, [queue]), _nominal([queue]))
    return bool(borrows), -work["spec"]["priority"], work["metadata"]["creationTimestamp"]


def _asked(work: Object) -> dict[str, Decimal]:
    return _sum(
        (name, quantities.parse(amount) * pods["count"])
        for pods in work["spec"]["podSets"]
        for container in pods["template"]["spec"]["containers"]
        for name, amount in container.get("resources", {}).get("requests", {}).items()
    )


def _nominal(queues: Iterable[Object]) -> dict[str, Decimal]:
    return _sum(
        (resource["name"], quantities.parse(resource["nominalQuota"]))
        for queue in queues
        for group in queue["spec"]["resourceGroups"]
        for flavor in group["flavors"]
        for resource in flavor["resources"]
    )


def _used(held: Iterable[_Held], queues: Iterable[Object]) -> dict[str, Decimal]:
    names = {queue["metadata"]["name"] for queue in queues}
    return _sum(pair for name, amounts in held if name in names for pair in amounts.items())


def _sum(pairs: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for name, amount in pairs:
        found[name] = found.get(name, Decimal(0)) + amount
    return found


def _lacking(
    queue: Object, asked: Mapping[str, Decimal], used: Mapping[str, Decimal], most: Mapping[str, Decimal]
) -> str:
    for name in queue["spec"]["resourceGroups"][0]["coveredResources"]:
        none = Decimal(0)
        over = asked.get(name, none) + used.get(name, none) - most.get(name, none)
        if asked.get(name, none) and over > 0:
            more = quantities.shown(over)
            return f"insufficient unused quota for {name} in flavor default, {more} more needed"
    return ""


def _is(work: Object, kind: str) -> bool:
    return bool(condition(work.get("status", {}), kind).get("status") == "True")


def _say(hand: Hand, work: Object, kind: str, is_so: bool, reason: str, message: str) -> None:
    """Set one condition; `work` is brought up to date, so that several can follow."""
    new = {"type": kind, "status": str(is_so), "reason": reason, "message": message}
    conditions = with_condition(work.get("status", {}), new, hand.cluster.store.now())
    work["status"] = {**work.get("status", {}), "conditions": conditions}
    hand.status(work, {"conditions": conditions})


def _pend(hand: Hand, work: Object, reason: str, message: str) -> None:
    known = condition(work.get("status", {}), "QuotaReserved")
    if (known.get("reason"), known.get("message")) != (reason, message):
        _say(hand, work, "QuotaReserved", False, reason, message)


def _let(hand: Hand, work: Object, queue: Object) -> None:
    name = queue["metadata"]["name"]
    hand.status(work, {"admission": {"clusterQueue": name, "podSetAssignments": [{"name": "main"}]}})
    _say(hand, work, "QuotaReserved", True, "QuotaReserved", f"Quota reserved in ClusterQueue {name}")
    _say(hand, work, "Admitted", True, "Admitted", f"The workload is admitted by ClusterQueue {name}")
    if condition(work["status"], "Evicted"):
        _say(hand, work, "Evicted", False, "QuotaReserved", "")


def _evict(hand: Hand, work: Object, reason: str, message: str) -> None:
    _say(hand, work, "Evicted", True, reason, message)
    _say(hand, work, "QuotaReserved", False, "Pending", message)
    _say(hand, work, "Admitted", False, "NoReservation", "The workload has no reservation")
