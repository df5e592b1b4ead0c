"""How controllers write: as the API's own components, without the care that clients need."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.cluster import trees, verbs
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.store import Name, Object
from tests.support.cluster.verbs import Cluster, Options


@dataclass(frozen=True, slots=True)
class Hand:
    """One component's way of writing to the cluster."""

    cluster: Cluster
    manager: str

    def list(self, kind: str, namespace: str = "") -> list[Object]:
        """All of a kind."""
        return list(self.cluster.store.list(self.cluster.kind(kind), namespace))

    def get(self, kind: str, name: Name) -> Object | None:
        """One object, or None."""
        return self.cluster.store.get(self.cluster.kind(kind), name)

    def owned(self, kind: str, owner: Object) -> list[Object]:
        """What an object controls."""
        uid = owner["metadata"]["uid"]
        return [
            o
            for o in self.list(kind, owner["metadata"].get("namespace", ""))
            if any(r["uid"] == uid and r.get("controller") for r in o["metadata"].get("ownerReferences", ()))
        ]

    def create(self, kind: str, namespace: str, value: Object) -> Object | Refusal:
        """A new object, or why not."""
        try:
            options = Options(manager=self.manager, validation="Ignore")
            return self.cluster.create(self.cluster.kind(kind), namespace, value, options)
        except Refusal as refusal:
            return refusal

    def status(self, value: Object, status: Mapping[str, Any]) -> None:
        """Set fields of an object's status."""
        self._merge(value, {"status": dict(status)}, "status")

    def change(self, value: Object, patch: Object) -> None:
        """Merge into an object."""
        self._merge(value, patch, "")

    def delete(self, value: Object) -> None:
        """Delete an object."""
        name = (value["metadata"].get("namespace", ""), value["metadata"]["name"])
        resource = self.cluster.kind(value["kind"])
        if self.cluster.store.get(resource, name) is not None:
            self.cluster.delete(resource, name, Options(manager=self.manager))

    def event(self, about: Object, reason: str, message: str, *, kind: str = "Normal") -> None:
        """Tell what happened; the same again is only counted."""
        metadata = about["metadata"]
        namespace = metadata.get("namespace", "default")
        digest = zlib.crc32(json.dumps([metadata["uid"], reason, message]).encode())
        name = f"{metadata['name']}.{digest:08x}"
        now = self.cluster.store.now()
        known = self.get("Event", (namespace, name))
        if known is not None:
            return self.change(known, {"count": known["count"] + 1, "lastTimestamp": now})
        involved = {
            "kind": about["kind"], "apiVersion": about["apiVersion"], "namespace": namespace,
            "name": metadata["name"], "uid": metadata["uid"],
        }  # fmt: skip
        value = {
            "metadata": {"name": name}, "involvedObject": involved, "reason": reason, "message": message,
            "type": kind, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": self.manager}, "reportingComponent": self.manager,
        }  # fmt: skip
        self.create("Event", namespace, value)

    def _merge(self, value: Object, patch: Object, subresource: str) -> None:
        name = (value["metadata"].get("namespace", ""), value["metadata"]["name"])
        resource = self.cluster.kind(value["kind"])
        there = self.cluster.store.get(resource, name)
        if there is not None and trees.changes(there, patch):
            options = Options(manager=self.manager, subresource=subresource, validation="Ignore")
            self.cluster.patch(resource, name, verbs.MERGE, trees.copied(patch), options)


def reference(owner: Object) -> list[Object]:
    """That this object controls another."""
    return [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def condition(status: Mapping[str, Any], kind: str) -> Object:
    """A condition of an object, `{}` when it has none of the kind."""
    return next((c for c in status.get("conditions", ()) if c["type"] == kind), {})


def with_condition(status: Mapping[str, Any], new: Object, now: str) -> list[Object]:
    """The conditions with one of them set; its transition time changes only with its status."""
    old = condition(status, new["type"])
    since = old.get("lastTransitionTime", now) if old.get("status") == new["status"] else now
    rest = [c for c in status.get("conditions", ()) if c["type"] != new["type"]]
    return [*rest, {**new, "lastTransitionTime": since}]


def is_ready(pod: Object) -> bool:
    """Whether a pod is ready and stays."""
    return condition(pod.get("status", {}), "Ready").get("status") == "True"


def is_leaving(value: Object) -> bool:
    """Whether an object is being deleted."""
    return "deletionTimestamp" in value["metadata"]
