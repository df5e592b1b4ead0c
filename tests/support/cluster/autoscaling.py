"""The controller of HorizontalPodAutoscalers, and the part of KEDA that makes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.cluster import quantities, scaling
from tests.support.cluster.measuring import Measure
from tests.support.cluster.store import Object, selected
from tests.support.cluster.verbs import Options
from tests.support.cluster.workloads import _part
from tests.support.cluster.writing import Hand, is_leaving, is_ready, reference, with_condition

_TOLERANCE = 0.1
_UP: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "policies": [
        {"type": "Percent", "value": 100, "periodSeconds": 15},
        {"type": "Pods", "value": 4, "periodSeconds": 15},
    ],
}
_DOWN: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 300,
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


@dataclass(slots=True)
class _Past:
    looked: float = float("-inf")
    proposals: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Proposal:
    """What one metric calls for, and what its status says."""

    replicas: int
    current: Object


class _Unmeasured(Exception):
    """A metric that nobody can tell now."""


@dataclass(slots=True)
class Autoscalers:
    """Looks at every autoscaler once in a period; `metrics` are those that no API of pods has.

    A name of `metrics` is that of a resource or custom metric (then its value is the mean over pods), or of
    an external one (then it is that of the whole).
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    measure: Measure = field(default=lambda pod: {})
    period: float = 15.0
    query: Callable[[str], float | None] = field(default=lambda text: None)
    """What KEDA's Prometheus answers."""
    _past: dict[str, _Past] = field(default_factory=dict)

    def step(self, hand: Hand, value: Object) -> None:
        """One look at one autoscaler."""
        now = hand.cluster.store.clock()
        past = self._past.setdefault(value["metadata"]["uid"], _Past())
        if is_leaving(value) or now - past.looked < self.period:
            return
        past.looked = now
        target = value["spec"]["scaleTargetRef"]
        found = hand.get(target["kind"], (value["metadata"]["namespace"], target["name"]))
        if found is None:
            said = f'{target["kind"].lower()}s.apps "{target["name"]}" not found'
            _tell(hand, value, {}, [_condition("AbleToScale", False, "FailedGetScale", said)])
            return
        self._scale(hand, value, found, past)

    def _scale(self, hand: Hand, value: Object, found: Object, past: _Past) -> None:
        now, current = hand.cluster.store.clock(), found["spec"]["replicas"]
        if current == 0:
            said = "scaling is disabled since the replica count of the target is zero"
            _tell(hand, value, {}, [_condition("ScalingActive", False, "ScalingDisabled", said)])
            return
        try:
            proposals = self._proposals(hand, value, found, current)
        except _Unmeasured as unmeasured:
            said = f"the HPA was unable to compute the replica count: {unmeasured}"
            told = _condition("ScalingActive", False, "FailedGetResourceMetric", said)
            _tell(hand, value, {"currentReplicas": current}, [told])
            return
        wanted = max(each.replicas for each in proposals)
        past.proposals = [(at, n) for at, n in past.proposals if now - at <= 3600] + [(now, wanted)]
        settled = _settled(value["spec"], past, current, now)
        low, high = value["spec"].get("minReplicas", 1), value["spec"]["maxReplicas"]
        desired = min(max(settled, low), high)
        if desired != current:
            past.changes.append((now, desired - current))
            self._write(hand, found, desired)
            hand.event(
                value, "SuccessfulRescale", f"New size: {desired}; reason: metric above or below target"
            )
        status = {
            "currentReplicas": current,
            "desiredReplicas": desired,
            "currentMetrics": [each.current for each in proposals],
        }
        _tell(hand, value, status, [*_able(), _limited(settled, low, high)])

    def _write(self, hand: Hand, found: Object, desired: int) -> None:
        name = (found["metadata"]["namespace"], found["metadata"]["name"])
        body = {"spec": {"replicas": desired}}
        options = Options(manager=hand.manager, subresource="scale")
        scaling.scale(hand.cluster, hand.cluster.kind(found["kind"]), name, body, options)

    def _proposals(self, hand: Hand, value: Object, found: Object, current: int) -> list[_Proposal]:
        pods = [
            pod
            for pod in hand.list("Pod", found["metadata"]["namespace"])
            if selected(pod["metadata"].get("labels") or {}, found["spec"]["selector"])
            and not is_leaving(pod)
            and pod.get("status", {}).get("phase") in ("Pending", "Running")
        ]
        done: list[_Proposal] = []
        failed: list[_Unmeasured] = []
        for each in value["spec"].get("metrics", ()):
            try:
                done.append(self._one(each, pods, current))
            except _Unmeasured as unmeasured:
                failed.append(unmeasured)
        if failed and (not done or max(each.replicas for each in done) < current):
            raise failed[0]
        return done

    def _one(self, metric: Object, pods: Sequence[Object], current: int) -> _Proposal:
        kind = metric["type"]
        inside = metric[kind[:1].lower() + kind[1:]]
        goal, known = (
            _goal(inside["target"]),
            {k: inside[k] for k in ("name", "container", "metric") if k in inside},
        )
        if kind == "External":
            total = self._external(inside["metric"])
            each = total / current
            replicas = current if abs(each / goal - 1) <= _TOLERANCE else math.ceil(total / goal)
            return _Proposal(replicas, _current(kind, known, {"averageValue": f"{each:g}"}))
        name = inside.get("name") or inside["metric"]["name"]
        parts = self._parts(kind, name, inside.get("container", ""), pods)
        replicas, mean = _followed(parts, goal, current)
        shown = {"averageUtilization": round(mean)} if "averageUtilization" in inside["target"] else {}
        return _Proposal(replicas, _current(kind, known, {"averageValue": f"{mean:g}", **shown}))

    def _external(self, metric: Object) -> float:
        labels = (metric.get("selector") or {}).get("matchLabels") or {}
        found = self.query(labels["query"]) if "query" in labels else self.metrics.get(metric["name"])
        if found is None:
            raise _Unmeasured(f"unable to get external metric {metric['name']}: no metrics returned")
        return found

    def _parts(
        self, kind: str, name: str, container: str, pods: Sequence[Object]
    ) -> list[tuple[bool, float | None]]:
        """Of each pod whether it is ready, and what part of its goal's measure it uses."""
        if name in self.metrics:
            return [(True, self.metrics[name]) for _ in pods]
        if kind == "Pods":
            raise _Unmeasured(f"unable to get metric {name}: no metrics returned from custom metrics API")
        used = [(is_ready(pod), self._percent(pod, name, container)) for pod in pods]
        if not any(part is not None for _, part in used):
            raise _Unmeasured(f"failed to get {name} utilization: did not receive metrics for any ready pods")
        return used

    def _percent(self, pod: Object, name: str, container: str) -> float | None:
        measured, asked, used = self.measure(pod), 0.0, 0.0
        for each in pod["spec"]["containers"]:
            if container and each["name"] != container:
                continue
            wanted = each.get("resources", {}).get("requests", {}).get(name)
            if wanted is None:
                raise _Unmeasured(f"missing request for {name} in container {each['name']}")
            if each["name"] not in measured:
                return None
            asked += float(quantities.parse(wanted))
            use = measured[each["name"]]
            used += use.cores if name == "cpu" else use.bytes
        return 100 * used / asked if asked else None


def scaled_object(hand: Hand, value: Object) -> None:
    """What KEDA makes of a ScaledObject: an HPA that it owns, whose triggers are external metrics."""
    if is_leaving(value):
        return
    spec, metadata = value["spec"], value["metadata"]
    name = f"keda-hpa-{metadata['name']}"
    wanted = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", **spec["scaleTargetRef"]},
        "minReplicas": spec.get("minReplicaCount") or 1,
        "maxReplicas": spec.get("maxReplicaCount", 100),
        "metrics": [_triggered(index, each) for index, each in enumerate(spec["triggers"])],
        **(spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig", {}),
    }
    known = hand.get("HorizontalPodAutoscaler", (metadata["namespace"], name))
    if known is None:
        # As KEDA does: the labels of the ScaledObject go before its own.
        labels = {"app.kubernetes.io/managed-by": "keda-operator", **metadata.get("labels", {})}
        head = {"name": name, "labels": labels, "ownerReferences": reference(value)}
        hand.create("HorizontalPodAutoscaler", metadata["namespace"], {"metadata": head, "spec": wanted})
    elif any(known["spec"].get(field) != each for field, each in wanted.items() if field != "behavior"):
        hand.change(known, {"spec": wanted})


def _triggered(index: int, trigger: Object) -> Object:
    metadata = trigger["metadata"]
    if trigger["type"] in ("cpu", "memory"):
        target = {"type": "Utilization", "averageUtilization": int(metadata["value"])}
        inside = {"name": trigger["type"], "container": metadata["containerName"], "target": target}
        return {"type": "ContainerResource", "containerResource": inside}
    metric = {
        "name": f"s{index}-{trigger['type']}",
        "selector": {"matchLabels": {"query": metadata["query"]}},
    }
    target = {"type": "AverageValue", "averageValue": metadata["threshold"]}
    return {"type": "External", "external": {"metric": metric, "target": target}}


def _goal(target: Mapping[str, Any]) -> float:
    if "averageUtilization" in target:
        return float(target["averageUtilization"])
    return float(quantities.parse(str(target.get("averageValue") or target["value"])))


def _followed(parts: Sequence[tuple[bool, float | None]], goal: float, current: int) -> tuple[int, float]:
    """As the controller reckons: what is not measured or not ready never helps the direction it goes in."""
    known = [part for ready, part in parts if ready and part is not None]
    if not known:
        raise _Unmeasured("did not receive metrics for any ready pods")
    mean = sum(known) / len(known)
    ratio = mean / goal
    others = len(parts) - len(known)
    if others:
        lacking = sum(part is None for _, part in parts)
        filled = [*known, *([goal] * lacking if ratio < 1 else [0.0] * others)]
        again = sum(filled) / len(filled) / goal
        if abs(again - 1) <= _TOLERANCE or (ratio > 1) != (again > 1):
            return current, mean
        return math.ceil(again * len(filled)), mean
    if abs(ratio - 1) <= _TOLERANCE:
        return current, mean
    return math.ceil(round(ratio * len(known), 9)), mean


def _settled(spec: Mapping[str, Any], past: _Past, current: int, now: float) -> int:
    behavior = spec.get("behavior") or {}
    up = {**_UP, **(behavior.get("scaleUp") or {})}
    down = {**_DOWN, **(behavior.get("scaleDown") or {})}
    wanted = past.proposals[-1][1]
    least = min(n for at, n in past.proposals if now - at <= up["stabilizationWindowSeconds"])
    most = max(n for at, n in past.proposals if now - at <= down["stabilizationWindowSeconds"])
    wanted = min(max(current, least), most) if current < least or current > most else current
    if wanted > current:
        return min(wanted, max(_reach(up["policies"], past, current, now, 1), current))
    if wanted < current:
        return max(wanted, min(_reach(down["policies"], past, current, now, -1), current))
    return current


def _reach(policies: Iterable[Mapping[str, Any]], past: _Past, current: int, now: float, way: int) -> int:
    """How far the policy that lets it go farthest lets it go."""
    ends = []
    for each in policies:
        lately = sum(n for at, n in past.changes if now - at < each["periodSeconds"] and n * way > 0)
        begun = current - lately
        amount = each["value"] if each["type"] == "Pods" else _part(f"{each['value']}%", begun, up=True)
        ends.append(begun + way * amount)
    return max(ends) if way > 0 else max(min(ends), 0)


def _current(kind: str, known: Mapping[str, Any], values: Mapping[str, Any]) -> Object:
    return {"type": kind, kind[:1].lower() + kind[1:]: {**known, "current": dict(values)}}


def _condition(kind: str, ok: bool, reason: str, message: str) -> Object:
    return {"type": kind, "status": str(ok), "reason": reason, "message": message}


def _able() -> list[Object]:
    return [
        _condition("AbleToScale", True, "ReadyForNewScale", "recommended size matches current size"),
        _condition(
            "ScalingActive", True, "ValidMetricFound", "the HPA was able to compute the replica count"
        ),
    ]


def _limited(settled: int, low: int, high: int) -> Object:
    if settled > high:
        said = "the desired replica count is more than the maximum replica count"
        return _condition("ScalingLimited", True, "TooManyReplicas", said)
    if settled < low:
        said = "the desired replica count is less than the minimum replica count"
        return _condition("ScalingLimited", True, "TooFewReplicas", said)
    return _condition("ScalingLimited", False, "DesiredWithinRange", "the desired count is within the range")


def _tell(hand: Hand, value: Object, status: Object, conditions: Iterable[Object]) -> None:
    known = value.get("status") or {}
    for each in conditions:
        known = {**known, "conditions": with_condition(known, each, hand.cluster.store.now())}
    counts = {"desiredReplicas": known.get("desiredReplicas", 0), "conditions": known["conditions"]}
    hand.status(value, {**counts, **status})
