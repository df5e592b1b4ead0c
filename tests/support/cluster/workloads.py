"""The controllers of Deployments, ReplicaSets and Jobs."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tests.support.cluster import trees
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand, is_leaving, is_ready, reference, with_condition

_HASH = "pod-template-hash"


def deployment(hand: Hand, value: Object) -> None:
    """One step of a deployment: its replica sets, and its status."""
    if is_leaving(value):
        return
    sets = hand.owned("ReplicaSet", value)
    digest = f"{zlib.crc32(json.dumps(value['spec']['template'], sort_keys=True).encode()):08x}"
    new = next((s for s in sets if s["metadata"]["labels"].get(_HASH) == digest), None)
    if new is None:
        made = hand.create("ReplicaSet", value["metadata"]["namespace"], _replica_set(value, digest))
        if isinstance(made, Refusal):
            return
        new, sets = made, [*sets, made]
    old = [s for s in sets if s is not new and s["spec"]["replicas"] > 0]
    _roll(hand, value, new, old)
    _tell(hand, value, new, hand.owned("ReplicaSet", value))


def _replica_set(value: Object, digest: str) -> Object:
    template = trees.copied(value["spec"]["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[_HASH] = digest
    selector = trees.copied(value["spec"]["selector"])
    selector.setdefault("matchLabels", {})[_HASH] = digest
    return {
        "metadata": {
            "name": f"{value['metadata']['name']}-{digest}",
            "labels": template["metadata"]["labels"],
            "ownerReferences": reference(value),
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }


def _roll(hand: Hand, value: Object, new: Object, old: Sequence[Object]) -> None:
    """Move replicas from the old sets to the new one, within surge and unavailability."""
    wanted, strategy = value["spec"]["replicas"], value["spec"]["strategy"]
    if strategy["type"] == "Recreate":
        for each in old:
            hand.change(each, {"spec": {"replicas": 0}})
        if not any(hand.owned("Pod", each) for each in old):
            hand.change(new, {"spec": {"replicas": wanted}})
        return
    surge = _part(strategy["rollingUpdate"]["maxSurge"], wanted, up=True)
    away = _part(strategy["rollingUpdate"]["maxUnavailable"], wanted, up=False) or (0 if surge else 1)
    total = sum(s["spec"]["replicas"] for s in (new, *old))
    current = new["spec"]["replicas"]
    size = min(wanted, current + max(wanted + surge - total, 0)) if current < wanted else wanted
    if size != current:
        hand.change(new, {"spec": {"replicas": size}})
    ready_old = {s["metadata"]["name"]: sum(map(is_ready, hand.owned("Pod", s))) for s in old}
    spare = sum(map(is_ready, hand.owned("Pod", new))) + sum(ready_old.values()) - (wanted - away)
    for each in old:
        unready = each["spec"]["replicas"] - ready_old[each["metadata"]["name"]]
        fewer = min(each["spec"]["replicas"], unready + max(spare, 0))
        spare -= max(fewer - unready, 0)
        if fewer:
            hand.change(each, {"spec": {"replicas": each["spec"]["replicas"] - fewer}})


def _part(amount: Any, of: int, *, up: bool) -> int:
    if isinstance(amount, int):
        return amount
    part = of * int(str(amount).rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def _tell(hand: Hand, value: Object, new: Object, sets: Sequence[Object]) -> None:
    pods = [p for s in sets for p in hand.owned("Pod", s) if not is_leaving(p)]
    ready = sum(map(is_ready, pods))
    updated = sum(1 for p in hand.owned("Pod", new) if not is_leaving(p))
    wanted, now = value["spec"]["replicas"], hand.cluster.store.now()
    away = _part(
        value["spec"]["strategy"].get("rollingUpdate", {}).get("maxUnavailable", 0), wanted, up=False
    )
    status: Object = {
        "observedGeneration": value["metadata"]["generation"],
        "replicas": len(pods),
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(wanted - ready, 0),
    }
    enough = ready >= wanted - away
    reason = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    old = value.get("status", {})
    status["conditions"] = with_condition(
        old, {"type": "Available", "status": str(enough), "reason": reason}, now
    )
    status["conditions"] = with_condition(status, _progress(hand, value, status), now)
    failures = [found for each in sets if (found := _failure(each))]
    status["conditions"] = [c for c in status["conditions"] if c["type"] != "ReplicaFailure"] + failures[:1]
    hand.status(value, status)


def _progress(hand: Hand, value: Object, status: Mapping[str, Any]) -> Object:
    """Whether the rollout gets on; `ProgressDeadlineExceeded` when it did not for too long."""
    old = next((c for c in value.get("status", {}).get("conditions", ()) if c["type"] == "Progressing"), {})
    wanted, now = value["spec"]["replicas"], hand.cluster.store.now()
    if status["updatedReplicas"] == status["readyReplicas"] == status["replicas"] == wanted:
        return {
            "type": "Progressing",
            "status": "True",
            "reason": "NewReplicaSetAvailable",
            "lastUpdateTime": now,
        }
    counts = tuple(status[k] for k in ("updatedReplicas", "readyReplicas", "replicas"))
    before = tuple(value.get("status", {}).get(k) for k in ("updatedReplicas", "readyReplicas", "replicas"))
    since = now if counts != before else old.get("lastUpdateTime", now)
    late = _seconds(now) - _seconds(since) > value["spec"]["progressDeadlineSeconds"]
    said = ("False", "ProgressDeadlineExceeded") if late else ("True", "ReplicaSetUpdated")
    return {"type": "Progressing", "status": said[0], "reason": said[1], "lastUpdateTime": since}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def replica_set(hand: Hand, value: Object) -> None:
    """One step of a replica set: as many pods as wanted."""
    pods = [p for p in hand.owned("Pod", value) if not is_leaving(p)]
    failed = [p for p in pods if p.get("status", {}).get("phase") == "Failed"]
    living = [p for p in pods if p not in failed]
    wanted = 0 if is_leaving(value) else value["spec"]["replicas"]
    refused = ""
    for _ in range(wanted - len(living)):
        made = hand.create("Pod", value["metadata"]["namespace"], _pod(value))
        if isinstance(made, Refusal):
            # Told once, though every try has a name of its own: or the cluster would never come to rest.
            known = str((_failure(value) or {}).get("message", ""))
            same = known.partition(" is forbidden: ")[2] == made.message.partition(" is forbidden: ")[2]
            refused = known if known and same else made.message
            if refused != known:
                hand.event(value, "FailedCreate", f"Error creating: {refused}", kind="Warning")
            break
    ranked = sorted(reversed(_oldest_first(living)), key=_worth)
    for each in (*failed, *ranked[: max(len(living) - wanted, 0)]):
        hand.delete(each)
    ready = sum(map(is_ready, living))
    counted: Object = {"replicas": len(living), "readyReplicas": ready, "availableReplicas": ready}
    if refused or _failure(value):
        said = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused}
        counted["conditions"] = [said] if refused else []
    hand.status(value, counted)


def _failure(value: Object) -> Object | None:
    """What a replica set says of pods that it cannot make."""
    found = value.get("status", {}).get("conditions") or ()
    return next((each for each in found if each["type"] == "ReplicaFailure"), None)


def _oldest_first(pods: list[Object]) -> list[Object]:
    return sorted(
        pods, key=lambda p: (p["metadata"]["creationTimestamp"], int(p["metadata"]["resourceVersion"]))
    )


def _worth(pod: Object) -> tuple[bool, bool, bool, int]:
    """What goes first, as the real controller ranks it: without a node, pending, unready, cheap to delete."""
    cost = (pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    running = pod.get("status", {}).get("phase") == "Running"
    return bool(pod["spec"].get("nodeName")), running, is_ready(pod), int(cost)


def job(hand: Hand, value: Object) -> None:
    """One step of a job: pods until enough have succeeded or too many have failed."""
    spec, now = value["spec"], hand.cluster.store.now()
    pods = hand.owned("Pod", value)
    done = sum(p.get("status", {}).get("phase") == "Succeeded" for p in pods)
    uncounted = value.get("status", {}).get("uncountedTerminatedPods", {}).get("failed", ())
    lost = sorted({*uncounted, *(p["metadata"]["uid"] for p in pods if _is_lost(spec, p))})
    failed = len(lost)
    active = [p for p in pods if p.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    active = [p for p in active if not is_leaving(p)]
    status: Object = {"succeeded": done, "failed": failed, "active": len(active)}
    status["uncountedTerminatedPods"] = {"failed": lost}
    finished = [
        c for c in value.get("status", {}).get("conditions", ()) if c["type"] in ("Complete", "Failed")
    ]
    if finished or is_leaving(value):
        return
    over = failed > spec["backoffLimit"]
    if over or done >= spec["completions"]:
        kind, reason = ("Failed", "BackoffLimitExceeded") if over else ("Complete", "CompletionsReached")
        for each in active:
            hand.delete(each)
        new = {"type": kind, "status": "True", "reason": reason}
        conditions = with_condition(value.get("status", {}), new, now)
        hand.status(value, {**status, "active": 0, "completionTime": now, "conditions": conditions})
        return
    for each in active if spec.get("suspend") else ():
        hand.delete(each)
    room = 0 if spec.get("suspend") else min(spec["parallelism"], spec["completions"] - done) - len(active)
    if "podFailurePolicy" in spec:  # then pods are replaced when they have wholly ended
        room -= sum(map(is_leaving, pods))
    for _ in range(max(room, 0)):
        made = hand.create("Pod", value["metadata"]["namespace"], _pod(value))
        if isinstance(made, Refusal):
            _refused(hand, value, made)
            break
    hand.status(value, {**status, "startTime": value.get("status", {}).get("startTime", now)})


def _is_lost(spec: Object, pod: Object) -> bool:
    """Whether a pod counts as a failed try: it failed, or is taken away, and no rule forgives it."""
    phase = pod.get("status", {}).get("phase")
    if phase != "Failed" and (phase == "Succeeded" or not is_leaving(pod) or spec.get("suspend")):
        return False
    conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", ())}
    for rule in spec.get("podFailurePolicy", {}).get("rules", ()):
        forgiven = any(conditions.get(c["type"]) == c["status"] for c in rule.get("onPodConditions", ()))
        if rule["action"] == "Ignore" and forgiven:
            return False
    return True


def _refused(hand: Hand, owner: Object, refusal: Refusal) -> None:
    """Say once why there is no pod: each try is for another name, and so for another message."""
    uid = owner["metadata"]["uid"]
    events = hand.list("Event", owner["metadata"]["namespace"])
    if not any(e["involvedObject"]["uid"] == uid and e["reason"] == "FailedCreate" for e in events):
        hand.event(owner, "FailedCreate", f"Error creating: {refusal.message}", kind="Warning")


def _pod(owner: Object) -> Object:
    template = trees.copied(owner["spec"]["template"])
    metadata = template.setdefault("metadata", {})
    metadata.setdefault("labels", {})
    metadata |= {"generateName": f"{owner['metadata']['name']}-", "ownerReferences": reference(owner)}
    return {"metadata": metadata, "spec": template["spec"]}
