"""Claims of devices: made for pods out of templates, allocated out of slices, and gone with their pods.

Selectors are understood as far as the platform and NVIDIA's DeviceClass write them, and no further.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tests.support.cluster import quantities
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.store import Object
from tests.support.cluster.writing import Hand

NO_DEVICE = "cannot allocate all claims"
_NAMED = "resource.kubernetes.io/pod-claim-name"
_ENDED = ("Succeeded", "Failed")
_DRIVER = re.compile(r"device\.driver == '(?P<driver>[^']+)'")
_ATTRIBUTE = re.compile(r"device\.attributes\['(?P<domain>[^']+)'\]\.(?P<name>\w+) == '(?P<value>[^']*)'")
_MATCHES = re.compile(
    r"device\.attributes\['(?P<domain>[^']+)'\]\.(?P<name>\w+)\.lowerAscii\(\)\.matches\('(?P<pattern>[^'\\]+)'\)"
)
_MULTIPLE = "device.allowMultipleAllocations == true"


def provide(hand: Hand, pod: Object) -> None:
    """One step of the controller: a claim for each template that a pod names; none for one that ended."""
    named = [each for each in pod["spec"].get("resourceClaims", ()) if "resourceClaimTemplateName" in each]
    if not named:
        return
    own = {each["metadata"]["annotations"][_NAMED]: each for each in hand.owned("ResourceClaim", pod)}
    if pod.get("status", {}).get("phase") in _ENDED:
        for claim in own.values():
            hand.delete(claim)
        return
    for each in named:
        if each["name"] not in own and (made := _made(hand, pod, each)) is not None:
            own[each["name"]] = made
    told = [
        {"name": name, "resourceClaimName": claim["metadata"]["name"]} for name, claim in sorted(own.items())
    ]
    if told and told != pod.get("status", {}).get("resourceClaimStatuses"):
        hand.status(pod, {"resourceClaimStatuses": told})


def are_there(hand: Hand, pod: Object) -> bool:
    """Whether a pod has all its claims; until then nobody looks for a node."""
    return len(_of_pod(hand, pod)) == len(pod["spec"].get("resourceClaims", ()))


def allocation(hand: Hand, pod: Object, node: Object) -> dict[str, list[Object]] | None:
    """Devices of a node for each claim of a pod, by the claim's name; None where there are too few."""
    found: dict[str, list[Object]] = {}
    if not pod["spec"].get("resourceClaims"):
        return found
    taken = list(_results(hand))
    for claim in _of_pod(hand, pod):
        results = claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results")
        chosen = results or _chosen(hand, claim, node, taken)
        if chosen is None:
            return None
        found[claim["metadata"]["name"]] = chosen
        taken += chosen
    return found


def keep(hand: Hand, pod: Object, allocated: Mapping[str, list[Object]]) -> None:
    """Write down which devices a pod has got, before it is bound."""
    for claim in _of_pod(hand, pod):
        name = pod["metadata"]["name"]
        user = {"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]}
        devices = {"results": allocated[claim["metadata"]["name"]]}
        hand.status(claim, {"allocation": {"devices": devices}, "reservedFor": [user]})


def held(hand: Hand, pod: Object, container: Object) -> Iterator[Object]:
    """The devices of the slices that a container's claims were given."""
    names = {each["name"] for each in container.get("resources", {}).get("claims", ())}
    for claim in _of_pod(hand, pod):
        if claim["metadata"]["annotations"][_NAMED] in names:
            for result in claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", ()):
                for spec, device in _offered(hand, ""):
                    if (spec["pool"]["name"], device["name"]) == (result["pool"], result["device"]):
                        yield device


def _made(hand: Hand, pod: Object, named: Object) -> Object | None:
    namespace = pod["metadata"]["namespace"]
    template = hand.get("ResourceClaimTemplate", (namespace, named["resourceClaimTemplateName"]))
    if template is None:
        why = f'cannot find ResourceClaimTemplate "{named["resourceClaimTemplateName"]}"'
        hand.event(pod, "FailedResourceClaimCreation", why, kind="Warning")
        return None
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": pod["metadata"]["name"],
        "uid": pod["metadata"]["uid"],
    }
    metadata = {
        "generateName": f"{pod['metadata']['name']}-{named['name']}-",
        "annotations": {_NAMED: named["name"]},
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
    }
    made = hand.create("ResourceClaim", namespace, {"metadata": metadata, "spec": template["spec"]["spec"]})
    return None if isinstance(made, Refusal) else made


def _of_pod(hand: Hand, pod: Object) -> list[Object]:
    return hand.owned("ResourceClaim", pod) if pod["spec"].get("resourceClaims") else []


def _results(hand: Hand) -> Iterator[Object]:
    for claim in hand.list("ResourceClaim"):
        yield from claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", ())


def _offered(hand: Hand, node: str) -> Iterator[tuple[Object, Object]]:
    """Slice and device, of one node or of all."""
    for each in hand.list("ResourceSlice"):
        if node in ("", each["spec"]["nodeName"]):
            yield from ((each["spec"], device) for device in each["spec"]["devices"])


def _chosen(hand: Hand, claim: Object, node: Object, taken: Sequence[Object]) -> list[Object] | None:
    chosen: list[Object] = []
    for request in claim["spec"]["devices"]["requests"]:
        wanted = request["exactly"]
        fitting = []
        for spec, device in _offered(hand, node["metadata"]["name"]):
            result = _result(spec, device, request)
            if _suits(hand, spec, device, wanted) and _is_free(spec, device, result, [*taken, *chosen]):
                fitting.append(result)
        count = wanted.get("count", 1)
        if len(fitting) < count:
            return None
        chosen += fitting[:count]
    return chosen


def _result(spec: Object, device: Object, request: Object) -> Object:
    result = {"request": request["name"], "driver": spec["driver"]}
    result |= {"pool": spec["pool"]["name"], "device": device["name"]}
    if device.get("allowMultipleAllocations"):
        asked = request["exactly"].get("capacity", {}).get("requests", {})
        whole = {name: value["value"] for name, value in device.get("capacity", {}).items()}
        result["consumedCapacity"] = {**whole, **asked}
    return result


def _is_free(spec: Object, device: Object, result: Object, taken: Sequence[Object]) -> bool:
    others = [
        each for each in taken if (each["pool"], each["device"]) == (spec["pool"]["name"], device["name"])
    ]
    if not device.get("allowMultipleAllocations"):
        return not others
    for name, amount in device.get("capacity", {}).items():
        used = sum(
            (quantities.parse(each["consumedCapacity"][name]) for each in (*others, result)), Decimal(0)
        )
        if used > quantities.parse(amount["value"]):
            return False
    return True


def _suits(hand: Hand, spec: Object, device: Object, wanted: Object) -> bool:
    found = hand.get("DeviceClass", ("", wanted["deviceClassName"]))
    if found is None:
        return False
    for name, amount in wanted.get("capacity", {}).get("requests", {}).items():
        there = device.get("capacity", {}).get(name, {}).get("value", "0")
        if quantities.parse(amount) > quantities.parse(there):
            return False
    selectors = (*(found["spec"].get("selectors") or ()), *(wanted.get("selectors") or ()))
    parts = [part.strip() for each in selectors for part in each["cel"]["expression"].split("&&")]
    return all(_holds(part, spec, device) for part in parts)


def _holds(expression: str, spec: Object, device: Object) -> bool:
    """One comparison of CEL; AssertionError for one of a shape that is not understood here."""
    if expression == _MULTIPLE:
        return bool(device.get("allowMultipleAllocations"))
    if found := _DRIVER.fullmatch(expression):
        return bool(spec["driver"] == found["driver"])
    if found := _ATTRIBUTE.fullmatch(expression):
        return _attribute(spec, device, found) == found["value"]
    if found := _MATCHES.fullmatch(expression):
        return re.search(found["pattern"], str(_attribute(spec, device, found)).lower()) is not None
    raise AssertionError(f"a selector of another shape: {expression}")


def _attribute(spec: Object, device: Object, found: re.Match[str]) -> Any:
    assert found["domain"] == spec["driver"], found
    return device.get("attributes", {}).get(found["name"], {}).get("string")
