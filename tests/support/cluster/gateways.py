"""A gateway implementation: accepts classes, programs gateways, says of routes whether they are served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.cluster.crds import GATEWAY_GROUP
from tests.support.cluster.store import Object, selected
from tests.support.cluster.writing import Hand, is_leaving, with_condition

Json = Mapping[str, Any]
_MIRRORS = ("HTTPRouteRequestMirror", "HTTPRouteRequestMultipleMirrors")
_TIMEOUTS = ("HTTPRouteRequestTimeout", "HTTPRouteBackendTimeout")
_CORE = (
    "Gateway", "HTTPRoute", "ReferenceGrant", "HTTPRouteMethodMatching", "HTTPRouteQueryParamMatching",
    "HTTPRouteHostRewrite", "HTTPRoutePathRewrite", "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect", "GatewayPort8080",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Implementation:
    """What one of them calls itself, and what it can."""

    controller: str
    features: tuple[str, ...]


IMPLEMENTATIONS: Mapping[str, Implementation] = {
    "envoy": Implementation(
        "gateway.envoyproxy.io/gatewayclass-controller",
        (
            *_CORE, *_MIRRORS, *_TIMEOUTS, "HTTPRouteRequestPercentageMirror", "GRPCRoute",
            "HTTPRouteCORS", "GatewayStaticAddresses", "HTTPRouteBackendRequestHeaderModification",
        ),
    ),
    "istio": Implementation(
        "istio.io/gateway-controller",
        (*_CORE, *_MIRRORS, *_TIMEOUTS, "HTTPRouteRequestPercentageMirror", "GRPCRoute", "HTTPRouteCORS"),
    ),
    "nginx": Implementation(
        "gateway.nginx.org/nginx-gateway-controller",
        (*_CORE, *_MIRRORS, "HTTPRouteRequestPercentageMirror", "GRPCRoute"),
    ),
    "traefik": Implementation("traefik.io/gateway-controller", _CORE),
}  # fmt: skip
"""By the names that the classes have here; what each can is what it reports of itself."""


def gateway_class(hand: Hand, value: Object) -> None:
    """Accept a class of one of the implementations, and say what it can."""
    known = implementation(value)
    if known is None:
        return
    accepted = _condition("Accepted", True, "Accepted", "the class is accepted", value)
    features = [{"name": name} for name in sorted(known.features)]
    wanted = {"conditions": _with(hand, value, [accepted]), "supportedFeatures": features}
    _write(hand, value, wanted)


def implementation(value: Object) -> Implementation | None:
    """Whose class it is; None when nobody looks after it."""
    controller = value["spec"]["controllerName"]
    return next((each for each in IMPLEMENTATIONS.values() if each.controller == controller), None)


def gateway(hand: Hand, value: Object, at: str = "127.0.0.1") -> None:
    """Program a gateway: an address, and what is attached to each of its listeners."""
    if is_leaving(value) or _controller(hand, value) is None:
        return
    taken = [route for route in _routes(hand) if not is_leaving(route)]
    listeners = [
        {
            "name": listener["name"],
            "supportedKinds": _supported(hand, value),
            "attachedRoutes": sum(
                not _why_not(hand, route, parent, value, [listener])
                for route in taken
                for parent in route["spec"].get("parentRefs", ())
                if _meant(parent, route) == (value["metadata"]["namespace"], value["metadata"]["name"])
            ),
            "conditions": _listener_conditions(hand, value, listener),
        }
        for listener in value["spec"]["listeners"]
    ]
    conditions = [
        _condition("Accepted", True, "Accepted", "the gateway is accepted", value),
        _condition("Programmed", True, "Programmed", "the gateway is programmed", value),
    ]
    address = {"type": "IPAddress", "value": at}
    wanted = {"addresses": [address], "conditions": _with(hand, value, conditions), "listeners": listeners}
    _write(hand, value, wanted)


def _listener_conditions(hand: Hand, value: Object, listener: Json) -> list[Object]:
    wrong = list(_missing_certificates(hand, value, listener))
    reason = "InvalidCertificateRef" if wrong else "ResolvedRefs"
    resolved = _condition("ResolvedRefs", not wrong, reason, ", ".join(wrong), value)
    programmed = _condition("Programmed", not wrong, "Invalid" if wrong else "Programmed", "", value)
    accepted = _condition("Accepted", True, "Accepted", "", value)
    known = value.get("status", {}).get("listeners", ())
    old: Json = next((each for each in known if each["name"] == listener["name"]), {})
    now, found = hand.cluster.store.now(), dict(old)
    for each in (accepted, programmed, resolved):
        found["conditions"] = with_condition(found, each, now)
    return list(found["conditions"])


def _missing_certificates(hand: Hand, value: Object, listener: Json) -> Iterator[str]:
    for each in (listener.get("tls") or {}).get("certificateRefs", ()):
        namespace = each.get("namespace", value["metadata"]["namespace"])
        if hand.get("Secret", (namespace, each["name"])) is None:
            yield f"Secret {namespace}/{each['name']} not found"


def route(hand: Hand, value: Object, refusal: str = "") -> None:
    """Say of a route, for each gateway that it names, whether that serves it.

    With a `refusal` it takes none up that leads to a back end by host, and says so in these words.
    """
    if is_leaving(value):
        return
    parents = []
    for parent in value["spec"].get("parentRefs", ()):
        found = hand.get("Gateway", _meant(parent, value))
        controller = None if found is None else _controller(hand, found)
        if found is None or controller is None or value["kind"] not in _kinds(hand, found):
            continue  # nobody feels responsible, so nobody says anything
        why = _why_not(hand, value, parent, found, found["spec"]["listeners"])
        if refusal and value["spec"].get("hostnames"):
            why = ("UnsupportedValue", refusal)
        wrong = next(_unresolved(hand, value), None)
        reason, words = why or ("Accepted", "the route is accepted")
        conditions = [
            _condition("Accepted", not why, reason, words, value),
            _condition("ResolvedRefs", wrong is None, *(wrong or ("ResolvedRefs", "")), value),
        ]
        known = value.get("status", {}).get("parents", ())
        old = next((each for each in known if each["parentRef"] == parent), {})
        parents.append(
            {
                "parentRef": parent,
                "controllerName": controller,
                "conditions": _with(hand, {"status": old}, conditions),
            }
        )
    _write(hand, value, {"parents": parents})


def backends(value: Object) -> Iterator[Json]:
    """Every Service that a route names, mirrors included."""
    for rule in value["spec"].get("rules", ()):
        yield from rule.get("backendRefs", ())
        for each in rule.get("filters", ()):
            if "requestMirror" in each:
                yield each["requestMirror"]["backendRef"]


def granted(hand: Hand, value: Object, backend: Json) -> bool:
    """Whether a route may send to a Service of that namespace."""
    own = value["metadata"]["namespace"]
    target = backend.get("namespace", own)
    if target == own:
        return True
    return any(
        each["kind"] == value["kind"] and each["namespace"] == own and each["group"] == GATEWAY_GROUP
        for grant in hand.list("ReferenceGrant", target)
        for each in grant["spec"]["from"]
        if any(to["kind"] == "Service" and to.get("name", backend["name"]) == backend["name"]
               for to in grant["spec"]["to"])
    )  # fmt: skip


def attached(hand: Hand, value: Object, owner: Object, listener: Json) -> bool:
    """Whether a route is served by this listener of a gateway."""
    place = (owner["metadata"]["namespace"], owner["metadata"]["name"])
    return any(
        _meant(parent, value) == place and not _why_not(hand, value, parent, owner, [listener])
        for parent in value["spec"].get("parentRefs", ())
    )


def _unresolved(hand: Hand, value: Object) -> Iterator[tuple[str, str]]:
    own = value["metadata"]["namespace"]
    for backend in backends(value):
        namespace, name = backend.get("namespace", own), backend["name"]
        if backend.get("kind", "Service") != "Service":
            yield "InvalidKind", f"kind {backend['kind']} is not supported"
        elif not granted(hand, value, backend):
            yield (
                "RefNotPermitted",
                f"Backend ref to Service {namespace}/{name} not permitted by any ReferenceGrant",
            )
        elif (service := hand.get("Service", (namespace, name))) is None:
            yield "BackendNotFound", f"Service {namespace}/{name} not found"
        elif backend.get("port") not in [port["port"] for port in service["spec"].get("ports", ())]:
            yield "BackendNotFound", f"Service {namespace}/{name} has no port {backend.get('port')}"


def _why_not(
    hand: Hand, value: Object, parent: Json, owner: Object, listeners: Sequence[Json]
) -> tuple[str, str] | None:
    """Why none of these listeners serves the route, as (reason, words)."""
    named = [each for each in listeners if parent.get("sectionName", each["name"]) == each["name"]]
    named = [each for each in named if parent.get("port", each["port"]) == each["port"]]
    if not named:
        return "NoMatchingParent", "no listener of that name"
    allowed = [each for each in named if _allows(hand, each, owner, value)]
    if not allowed:
        return "NotAllowedByListeners", "no listener allows routes of that namespace or kind"
    wanted = value["spec"].get("hostnames") or ["*"]
    if not any(covers(each.get("hostname", "*"), host) for each in allowed for host in wanted):
        return "NoMatchingListenerHostname", "no listener has one of the hostnames"
    return _unsupported(hand, value, owner)


def _unsupported(hand: Hand, value: Object, owner: Object) -> tuple[str, str] | None:
    """A filter that the class cannot do; a time-out that it does not know is left out."""
    found = hand.get("GatewayClass", ("", owner["spec"]["gatewayClassName"]))
    known = None if found is None else implementation(found)
    features = known.features if known else ()
    for rule in value["spec"].get("rules", ()):
        mirrors = [f["requestMirror"] for f in rule.get("filters", ()) if "requestMirror" in f]
        parts = [each for each in mirrors if "percent" in each or "fraction" in each]
        needed = {
            "HTTPRouteRequestMirror": bool(mirrors),
            "HTTPRouteRequestMultipleMirrors": len(mirrors) > 1,
            "HTTPRouteRequestPercentageMirror": bool(parts),
        }
        for name, wanted in needed.items():
            if wanted and name not in features:
                return "UnsupportedValue", f"{name} is not supported"
    return None


def _allows(hand: Hand, listener: Json, owner: Object, value: Object) -> bool:
    rules = listener.get("allowedRoutes") or {}
    if rules.get("kinds") and value["kind"] not in [each["kind"] for each in rules["kinds"]]:
        return False
    namespaces = rules.get("namespaces") or {}
    match namespaces.get("from", "Same"):
        case "All":
            return True
        case "Same":
            return bool(owner["metadata"]["namespace"] == value["metadata"]["namespace"])
        case "None":
            return False
    found = hand.get("Namespace", ("", value["metadata"]["namespace"])) or {"metadata": {}}
    return selected(found["metadata"].get("labels") or {}, namespaces.get("selector") or {})


def covers(listener: str, host: str) -> bool:
    """Whether a listener's hostname has something in common with that of a route: `*.` is any labels."""
    if "*" in (listener, host) or listener == host:
        return True
    if listener.startswith("*."):
        return host.removeprefix("*").endswith(listener[1:])
    return host.startswith("*.") and listener.endswith(host[1:])


def _meant(parent: Json, value: Object) -> tuple[str, str]:
    return parent.get("namespace", value["metadata"]["namespace"]), parent["name"]


def _routes(hand: Hand) -> list[Object]:
    return [*hand.list("HTTPRoute"), *hand.list("GRPCRoute")]


def _controller(hand: Hand, owner: Object) -> str | None:
    found = hand.get("GatewayClass", ("", owner["spec"]["gatewayClassName"]))
    known = None if found is None else implementation(found)
    return known.controller if known else None


def _supported(hand: Hand, owner: Object) -> list[Object]:
    found = hand.get("GatewayClass", ("", owner["spec"]["gatewayClassName"]))
    known = None if found is None else implementation(found)
    kinds = ["HTTPRoute", *(["GRPCRoute"] if known and "GRPCRoute" in known.features else [])]
    return [{"group": GATEWAY_GROUP, "kind": kind} for kind in kinds]


def _kinds(hand: Hand, owner: Object) -> list[str]:
    return [each["kind"] for each in _supported(hand, owner)]


def _condition(kind: str, good: bool, reason: str, words: str, value: Object) -> Object:
    generation = value["metadata"].get("generation", 1)
    found = {"type": kind, "status": str(good), "reason": reason, "message": words}
    return {**found, "observedGeneration": generation}


def _with(hand: Hand, value: Object, conditions: Sequence[Object]) -> list[Object]:
    found = {"conditions": list(value.get("status", {}).get("conditions", ()))}
    for each in conditions:
        found["conditions"] = with_condition(found, each, hand.cluster.store.now())
    return found["conditions"]


def _write(hand: Hand, value: Object, wanted: Object) -> None:
    old = value.get("status", {})
    if any(old.get(key) != each for key, each in wanted.items()):
        hand.status(value, wanted)
