"""Admission: what is filled in, and what a namespace's quota, limits and pod security refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tests.support.cluster import quantities
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Object, Store

_LEVEL = "pod-security.kubernetes.io/enforce"
_COUNTED = {"Pod": "pods", "Service": "services", "ConfigMap": "configmaps", "Secret": "secrets"}


def mutate(store: Store, resources: Sequence[Resource], resource: Resource, value: Object) -> None:
    """Give a service its addresses, a pod its namespace's defaults, in place."""
    if resource.kind == "Service":
        _service(store, resource, value)
    if resource.kind == "Pod":
        _priority(store, resources, value["spec"])
        for limits in _of(store, resources, "LimitRange", value):
            _default_limits(limits, value["spec"])
    if resource.kind == "Namespace":
        value.setdefault("status", {"phase": "Active"})
        labels = value["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = value["metadata"]["name"]


def refusal(
    store: Store, resources: Sequence[Resource], resource: Resource, value: Object, before: Object | None
) -> str:
    """Why the object may not be; empty when it may."""
    if before is not None or not resource.namespaced:
        return ""
    wanted = value["spec"].get("priorityClassName") if resource.kind == "Pod" else None
    if wanted and _class_of(store, resources, value["spec"]) is None:
        return f"no PriorityClass with name {wanted} was found"
    for quota in _of(store, resources, "ResourceQuota", value):
        exceeded = _exceeded(store, resources, resource, quota, value)
        if exceeded:
            return exceeded
    if resource.kind == "Pod":
        level = _namespace(store, resources, value)["metadata"].get("labels", {}).get(_LEVEL, "privileged")
        wrong = list(_insecure(value["spec"])) if level == "restricted" else []
        if wrong:
            return f'violates PodSecurity "restricted:latest": {", ".join(wrong)}'
    return ""


def _of(store: Store, resources: Sequence[Resource], kind: str, value: Object) -> list[Object]:
    resource = next(r for r in resources if r.kind == kind)
    return store.list(resource, value["metadata"].get("namespace", "-"))


def _namespace(store: Store, resources: Sequence[Resource], value: Object) -> Object:
    resource = next(r for r in resources if r.kind == "Namespace")
    return store.get(resource, ("", value["metadata"]["namespace"])) or {"metadata": {}}


def _service(store: Store, resource: Resource, value: Object) -> None:
    spec = value["spec"]
    before = store.get(resource, (value["metadata"].get("namespace", ""), value["metadata"]["name"])) or {}
    old = before.get("spec", {})
    if spec["type"] != "ExternalName" and not spec.get("clusterIP"):
        spec["clusterIP"] = (
            old.get("clusterIP") or f"{store.services}.{store.version // 250 % 250}.{store.version % 250 + 1}"
        )
        spec["clusterIPs"] = [spec["clusterIP"]]
    if spec["type"] in ("NodePort", "LoadBalancer"):
        taken = {p.get("nodePort") for s in store.list(resource) for p in s["spec"].get("ports", ())}
        known = {p["port"]: p.get("nodePort") for p in old.get("ports", ())}
        for port in spec.get("ports", ()):
            if not port.get("nodePort"):
                free = next(n for n in range(30_000, 32_768) if n not in taken)
                port["nodePort"] = known.get(port["port"]) or free
                taken.add(port["nodePort"])


def collisions(store: Store, resource: Resource, value: Object) -> Iterator[str]:
    """Ports of the nodes that a service asks for and another one has."""
    if resource.kind != "Service":
        return
    own = (value["metadata"].get("namespace", ""), value["metadata"]["name"])
    others = [e for e in store.list(resource) if (e["metadata"]["namespace"], e["metadata"]["name"]) != own]
    taken = {port.get("nodePort") for each in others for port in each["spec"].get("ports") or ()}
    for index, port in enumerate(value["spec"].get("ports") or ()):
        if port.get("nodePort") in taken - {None}:
            where = f"spec.ports[{index}].nodePort"
            yield f"{where}: Invalid value: {port['nodePort']}: provided port is already allocated"


def _priority(store: Store, resources: Sequence[Resource], spec: Object) -> None:
    """What a pod's class says; `refusal` tells of one that is not there."""
    found = _class_of(store, resources, spec)
    if found is not None:
        spec["priority"] = found["value"]
        spec["preemptionPolicy"] = found.get("preemptionPolicy", "PreemptLowerPriority")


def _class_of(store: Store, resources: Sequence[Resource], spec: Object) -> Object | None:
    name = spec.get("priorityClassName")
    resource = next(r for r in resources if r.kind == "PriorityClass")
    return store.get(resource, ("", name)) if name else None


def _default_limits(limits: Object, spec: Object) -> None:
    for each in limits["spec"].get("limits", ()):
        if each.get("type") != "Container":
            continue
        for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
            resources = container.setdefault("resources", {})
            for kind, source in (("limits", "default"), ("requests", "defaultRequest")):
                for name, amount in (each.get(source) or {}).items():
                    resources.setdefault(kind, {}).setdefault(name, amount)


def _exceeded(
    store: Store, resources: Sequence[Resource], resource: Resource, quota: Object, value: Object
) -> str:
    hard = quota["spec"].get("hard", {})
    used: dict[str, Decimal] = {}
    for each in store.list(resource, value["metadata"]["namespace"]):
        for name, amount in _usage(resource, each):
            used[name] = used.get(name, Decimal(0)) + amount
    wanted = dict(_usage(resource, value))
    over = [n for n in hard if n in wanted and used.get(n, 0) + wanted[n] > quantities.parse(hard[n])]
    if resource.kind == "Pod":
        unsaid = [name for name in hard if _is_unsaid(value["spec"], *name.partition(".")[::2])]
        if unsaid:
            return f"failed quota: {quota['metadata']['name']}: must specify {','.join(unsaid)}"
    if not over:
        return ""

    def shown(amounts: Mapping[str, Any]) -> str:
        return ",".join(f"{n}={quantities.shown(Decimal(amounts.get(n, 0)))}" for n in over)

    limited = ",".join(f"{n}={hard[n]}" for n in over)
    name = quota["metadata"]["name"]
    return f"exceeded quota: {name}, requested: {shown(wanted)}, used: {shown(used)}, limited: {limited}"


def _usage(resource: Resource, value: Object) -> Iterator[tuple[str, Decimal]]:
    counted = _COUNTED.get(resource.kind)
    if counted:
        yield counted, Decimal(1)
    yield f"count/{resource.plural}" + (f".{resource.group}" if resource.group else ""), Decimal(1)
    if resource.kind != "Pod" or value.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return
    sums: dict[str, Decimal] = {}
    for container in value["spec"].get("containers", ()):
        for key, amount in _asked(container):
            sums[key] = sums.get(key, Decimal(0)) + amount
    for container in value["spec"].get("initContainers", ()):  # one after another, before the others
        for key, amount in _asked(container):
            sums[key] = max(sums.get(key, Decimal(0)), amount)
    yield from sums.items()


def _asked(container: Object) -> Iterator[tuple[str, Decimal]]:
    for kind in ("requests", "limits"):
        for name, amount in (container.get("resources", {}).get(kind) or {}).items():
            yield f"{kind}.{name}", quantities.parse(amount)


def _is_unsaid(spec: Object, kind: str, name: str) -> bool:
    """Whether a quota counts what some container, also one that prepares, says nothing of."""
    if kind not in ("requests", "limits") or name not in ("cpu", "memory"):
        return False
    every = (*spec.get("initContainers", ()), *spec.get("containers", ()))
    return any(name not in (each.get("resources", {}).get(kind) or {}) for each in every)


def _insecure(spec: Object) -> Iterator[str]:
    """What the restricted standard refuses."""
    pod = spec.get("securityContext") or {}
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        yield from _insecure_container(container, pod)
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "host namespaces"
    if any("hostPath" in volume for volume in spec.get("volumes", ())):
        yield "restricted volume types (hostPath)"


def _insecure_container(container: Object, pod: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    named = f'container "{container.get("name")}" must set securityContext'
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"allowPrivilegeEscalation != false ({named}.allowPrivilegeEscalation=false)"
    if "ALL" not in (own.get("capabilities") or {}).get("drop", ()):
        yield f'unrestricted capabilities ({named}.capabilities.drop=["ALL"])'
    if not own.get("runAsNonRoot", pod.get("runAsNonRoot")):
        yield f"runAsNonRoot != true ({named}.runAsNonRoot=true)"
    profile = (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield f'seccompProfile ({named}.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    if own.get("privileged"):
        yield f'privileged (container "{container.get("name")}" must not set privileged=true)'
