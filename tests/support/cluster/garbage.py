"""Deleting: finalizers, graceful ends of pods, dependents, and whole namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.support.cluster import trees
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Name, Object, Store

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Garbage:
    """The garbage collector, which here acts at once."""

    def __init__(self, store: Store, resources: Sequence[Resource]) -> None:
        self._store = store
        self._resources = resources

    def delete(
        self, resource: Resource, name: Name, *, propagation: str, grace_seconds: int | None
    ) -> Object:
        """Mark an object for deletion and remove what may go; the object as it was last."""
        found = self._store.get(resource, name)
        assert found is not None
        value = trees.copied(found)
        metadata = value["metadata"]
        grace = self._grace(resource, value, grace_seconds)
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = self._store.now()
            metadata["deletionGracePeriodSeconds"] = grace
            if "generation" in metadata:
                metadata["generation"] += 1
            if propagation == "Foreground":
                metadata.setdefault("finalizers", []).append(FOREGROUND)
        elif grace < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionGracePeriodSeconds"] = grace
        if propagation == "Orphan":
            self._orphan(value)
        if resource.kind == "Namespace":
            value["status"] = {**value.get("status", {}), "phase": "Terminating"}
        stays = bool(metadata.get("finalizers")) or self._is_ending(resource, value)
        stored = self._store.put(resource, value) if stays else value
        if resource.kind == "Namespace":
            self._empty(name[1])
        return self.settle(resource, stored)

    def settle(self, resource: Resource, value: Object) -> Object:
        """Remove an object that waits for nothing any more, and then its dependents."""
        metadata = value["metadata"]
        if "deletionTimestamp" not in metadata:
            return value
        name = (metadata.get("namespace", ""), metadata["name"])
        if FOREGROUND in metadata.get("finalizers", ()):
            for kind, dependent in list(self._dependents(value)):
                self._delete_dependent(kind, dependent, propagation="Foreground")
            if any(True for _ in self._dependents(value)):
                return value
            value = trees.copied(value)
            value["metadata"]["finalizers"].remove(FOREGROUND)
            value = self._store.put(resource, value)
        if value["metadata"].get("finalizers") or self._is_ending(resource, value):
            return value
        if self._store.get(resource, name) is None:
            return value
        last = self._store.remove(resource, name)
        for kind, dependent in list(self._dependents(last)):
            self._delete_dependent(kind, dependent, propagation="Background")
        self._relieve_owners(last)
        return last

    def finished(self, resource: Resource, name: Name) -> None:
        """A pod's processes have ended: it may go."""
        found = self._store.get(resource, name)
        if found is not None and "deletionTimestamp" in found["metadata"]:
            value = trees.copied(found)
            value["metadata"]["deletionGracePeriodSeconds"] = 0
            self.settle(resource, self._store.put(resource, value))

    def _delete_dependent(self, resource: Resource, value: Object, *, propagation: str) -> None:
        name = (value["metadata"].get("namespace", ""), value["metadata"]["name"])
        if self._store.get(resource, name) is not None and "deletionTimestamp" not in value["metadata"]:
            self.delete(resource, name, propagation=propagation, grace_seconds=None)

    def _dependents(self, owner: Object) -> Iterator[tuple[Resource, Object]]:
        """What would be without an owner."""
        uid = owner["metadata"]["uid"]
        for resource in self._resources:
            for each in self._store.list(resource):
                owners = [o["uid"] for o in each["metadata"].get("ownerReferences", ())]
                if uid in owners and not any(o != uid and self._lives(o) for o in owners):
                    yield resource, each

    def _lives(self, uid: str) -> bool:
        return any(o["metadata"]["uid"] == uid for r in self._resources for o in self._store.list(r))

    def _orphan(self, owner: Object) -> None:
        for resource, each in list(self._dependents(owner)):
            freed = trees.copied(each)
            references = freed["metadata"]["ownerReferences"]
            freed["metadata"]["ownerReferences"] = [
                o for o in references if o["uid"] != owner["metadata"]["uid"]
            ]
            self._store.put(resource, freed)

    def _relieve_owners(self, gone: Object) -> None:
        """Owners that wait in the foreground look again."""
        for reference in gone["metadata"].get("ownerReferences", ()):
            for resource in self._resources:
                for each in self._store.list(resource):
                    if each["metadata"]["uid"] == reference["uid"]:
                        self.settle(resource, each)
        if gone["metadata"].get("namespace"):
            self._empty(gone["metadata"]["namespace"])

    def _empty(self, namespace: str) -> None:
        """Remove what is left in a namespace that ends, and then the namespace."""
        kind = next(r for r in self._resources if r.kind == "Namespace")
        found = self._store.get(kind, ("", namespace))
        if found is None or "deletionTimestamp" not in found["metadata"]:
            return
        for resource in self._resources:
            if resource.namespaced:
                for each in self._store.list(resource, namespace):
                    self._delete_dependent(resource, each, propagation="Background")
        left = any(self._store.list(r, namespace) for r in self._resources if r.namespaced)
        if not left and self._store.get(kind, ("", namespace)) is not None:
            self._store.remove(kind, ("", namespace))

    def _grace(self, resource: Resource, value: Object, asked: int | None) -> int:
        if resource.kind != "Pod":
            return 0
        if not value.get("spec", {}).get("nodeName"):
            return 0
        return value["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked

    def _is_ending(self, resource: Resource, value: Object) -> bool:
        """Whether a kubelet has still to end the pod."""
        if resource.kind == "Namespace":
            return any(
                self._store.list(r, value["metadata"]["name"]) for r in self._resources if r.namespaced
            )
        if resource.kind != "Pod" or value.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return False
        return value["metadata"].get("deletionGracePeriodSeconds", 0) > 0
