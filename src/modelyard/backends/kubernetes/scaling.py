"""Lets the cluster's own autoscaler decide how many pods a revision has, and reads what it decided."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelyard.backends.base import Called, Rule, Unable
from modelyard.backends.kubernetes import drift, forms, kinds, names
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    SCALED_OBJECT,
    Kind,
    Manifest,
    place,
)
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.scaler import Scaled, autoscaler_name, scaled_by, scaler
from modelyard.backends.kubernetes.upkeep import CORRECTED, Note
from modelyard.backends.kubernetes.view import View
from modelyard.domain.deployment import Key
from modelyard.domain.errors import NotFound

_AGAIN_SECONDS = 600.0
"""After so long an object is applied anew, whatever is known of it."""
_UNSURE_SECONDS = 60.0
"""Nothing is known of pods that have just started, so that an HPA complains about each of them at first."""
_SHORT = {"memory": "mem"}
_MOST_MESSAGE = 200


class Scalers:
    """The autoscalers of one cluster; that there is one is written on the Deployment before it is made."""

    def __init__(
        self,
        cluster: Cluster,
        view: View,
        *,
        settings: Settings,
        note: Note,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._view = view
        self._settings = settings
        self._note = note
        self._clock = clock
        self._applied: dict[tuple[str, str], tuple[str, float]] = {}

    async def follow(self, rule: Rule, capabilities: Capabilities) -> Called | Unable:
        """Have the revision's pods counted by the cluster, and only by it."""
        found: Unable | Manifest = Unable("no replica of the revision is there yet")
        deployment = None
        for each in self._view.of(DEPLOYMENT, rule.key):
            if names.revision_of(each["metadata"]["labels"]) == rule.revision and _wants_some(each):
                found, deployment = self._rendered(rule, each, capabilities), each
            else:
                await self._release(each)
        if isinstance(found, Unable) or deployment is None:
            if deployment is not None:
                await self._release(deployment)
            return found if isinstance(found, Unable) else Unable("the revision is not there yet")
        kind = kinds.of(found)
        if scaled_by(deployment) not in ("", kind.name):
            await self._release(deployment)
        if scaled_by(deployment) != kind.name:
            deployment = await self._mark(deployment, kind.name)
        await self._apply(rule.key, found)
        where = (found["metadata"]["namespace"], autoscaler_name(kind.name, found["metadata"]["name"]))
        autoscaler = self._view.get(HORIZONTAL_POD_AUTOSCALER, *where)
        who = "KEDA" if kind == SCALED_OBJECT else "HPA"
        return called(rule, deployment, autoscaler, who=who, now=self._clock())

    async def release(self, key: Key) -> None:
        """Nothing but the platform decides any more; there are as many pods as there were."""
        for each in self._view.of(DEPLOYMENT, key):
            await self._release(each)

    def _rendered(self, rule: Rule, deployment: Manifest, capabilities: Capabilities) -> Manifest | Unable:
        namespace, _ = place(deployment)
        anchor = self._view.get(CONFIG_MAP, namespace, names.anchor_name(rule.key))
        if anchor is None:
            return Unable("what belongs to the deployment is being removed")
        owner = {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.name,
            "name": anchor["metadata"]["name"],
            "uid": anchor["metadata"]["uid"],
        }
        return scaler(Scaled(rule=rule, namespace=namespace, owner=owner), capabilities, self._settings)

    async def _apply(self, key: Key, wanted: Manifest) -> None:
        """Make it, or put it back; nothing when it is as it was made."""
        where, text = place(wanted), json.dumps(wanted, sort_keys=True)
        kind = kinds.of(wanted)
        before, at = self._applied.get(where, ("", 0.0))
        recent = before == text and 0 <= self._clock() - at < _AGAIN_SECONDS
        live = self._view.get(kind, *where) if kind == HORIZONTAL_POD_AUTOSCALER else wanted
        if recent and live is not None and drift.holds(live["spec"], wanted["spec"]):
            return
        if recent:
            self._note(key, CORRECTED, await self._told(kind, where, wanted))
        written = await self._cluster.apply(wanted)
        self._applied[where] = (text, self._clock())
        if kind == HORIZONTAL_POD_AUTOSCALER:
            self._view.wrote(kind, written)

    async def _told(self, kind: Kind, where: tuple[str, str], wanted: Manifest) -> str:
        """Who changed it; what is known here of objects does not say who owns what."""
        what = f"{kind.name} {where[1]}"
        try:
            live = await self._cluster.get(kind, where[1], namespace=where[0])
        except NotFound:
            return f"somebody had deleted {what}; it is made again"
        return drift.told(what, drift.lost(wanted, live))

    async def _release(self, deployment: Manifest) -> None:
        """Remove what decides, then the word that something does: whoever dies between finds the word."""
        name = scaled_by(deployment)
        if not name:
            return
        namespace, revision = place(deployment)
        kind = SCALED_OBJECT if name == SCALED_OBJECT.name else HORIZONTAL_POD_AUTOSCALER
        await remove(self._cluster, kind, namespace, revision)
        self._applied.pop((namespace, revision), None)
        await self._mark(deployment, None)

    async def _mark(self, deployment: Manifest, kind: str | None) -> Manifest:
        namespace, name = place(deployment)
        written = await self._cluster.patch(
            DEPLOYMENT,
            name,
            {"metadata": {"annotations": {names.SCALED_BY: kind}}},
            namespace=namespace,
            manager=names.SCALE_MANAGER,
        )
        self._view.wrote(DEPLOYMENT, written)
        return written


async def remove(cluster: Cluster, kind: Kind, namespace: str, revision: str) -> None:
    """Remove the autoscaler of a revision."""
    await cluster.delete(kind, revision, namespace=namespace)


def called(rule: Rule, deployment: Manifest, autoscaler: Manifest | None, *, who: str, now: float) -> Called:
    """What the cluster decided, out of the Deployment's number and what its HPA says of itself."""
    count = int(deployment["spec"].get("replicas") or 0)
    within = min(max(count, rule.least), rule.most)
    if autoscaler is None:
        return Called(replicas=within, message=f"{who}: not begun yet")
    conditions = {
        each["type"]: each for each in (autoscaler.get("status") or {}).get("conditions") or () if each
    }
    active = conditions.get("ScalingActive") or {}
    if active.get("status") == "False" and now - _since(active) > _UNSURE_SECONDS:
        why = str(active.get("message") or active.get("reason") or "it does not say why")
        message = f"{who} cannot decide: {why[:_MOST_MESSAGE]}"
        return Called(replicas=within, message=message, unsure=True)
    limit = conditions.get("ScalingLimited") or {}
    limited = limit.get("status") == "True" and limit.get("reason") == "TooManyReplicas"
    words = ", ".join(_measured(autoscaler)) or "nothing is measured yet"
    return Called(replicas=within, message=f"{who}: {words}", limited=limited)


def _since(condition: Mapping[str, Any]) -> float:
    return forms.seconds(condition.get("lastTransitionTime"))


def _measured(autoscaler: Manifest) -> Iterator[str]:
    """Each metric with what it is and should be: `cpu 80% of 50%`."""
    found = (autoscaler.get("status") or {}).get("currentMetrics") or ()
    wanted = autoscaler["spec"].get("metrics") or ()
    # A status lists the metrics in the order of the spec, and fewer or more while it is of another spec.
    for now, goal in zip(found, wanted, strict=False):
        kind = str(goal.get("type", ""))
        field = kind[:1].lower() + kind[1:]
        is_now, should = now.get(field) or {}, goal.get(field) or {}
        name = str(should.get("name") or (should.get("metric") or {}).get("name") or kind)
        current, target = is_now.get("current") or {}, should.get("target") or {}
        yield f"{_SHORT.get(name, name)} {_value(current)} of {_value(target)}"


def _value(values: Mapping[str, Any]) -> str:
    if (percent := values.get("averageUtilization")) is not None:
        return f"{percent}%"
    return str(values.get("averageValue") or values.get("value") or "?")


def _wants_some(deployment: Manifest) -> bool:
    """Whether the platform wants any replica of a revision: an HPA does nothing for none."""
    text = (deployment["metadata"].get("annotations") or {}).get(names.REPLICAS, "")
    return "deletionTimestamp" not in deployment["metadata"] and text not in ("", "{}")
