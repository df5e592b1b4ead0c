"""Who does each thing that the routing of a service can need in a cluster; pure."""

from __future__ import annotations

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.gateway.gateway_api import planning
from modelyard.gateway.gateway_api.planning import Decision, Where
from modelyard.gateway.gateway_api.site import Offer, Place
from modelyard.installing.verdict import Check

_ROUTER = Place(namespace="modelyard-system", name="modelyard-gateway-router", port=80)
"""The builtin router comes with every installation, as pods of its own or in the platform's own pod."""


def checks(found: Capabilities) -> tuple[Check, ...]:
    """One line for each, as `endpoint show` has them for a service; none of them is a failure."""
    table = decisions(found)
    return (
        Check(name="routing", ok=True, message=_first(found)),
        *(Check(name=f"routing: {each.feature}", ok=True, message=_words(each, found)) for each in table),
    )


def decisions(found: Capabilities) -> tuple[Decision, ...]:
    """The gateway does what its class says that it can; everything else is the builtin router's."""
    offer = Offer(
        gateway_class=found.gateway_class, features=found.gateway_features, router=_ROUTER, direct=True
    )
    if found.gateway_class:
        return planning.table(offer)
    why = _no_class(found)
    return tuple(
        Decision(feature=each.feature, where=Where.ROUTER, reason=why) for each in planning.table(offer)
    )


def _first(found: Capabilities) -> str:
    name = found.gateway_class
    if not name:
        return f"everything by the builtin router, since {_no_class(found)}"
    return (
        f"GatewayClass {name}: with gateway_class={name} and routing=gateway it leads straight to replicas "
        "where a service needs nothing else; otherwise all goes through the builtin router"
    )


def _no_class(found: Capabilities) -> str:
    if not found.has_gateway:
        return "the cluster does not serve the Gateway API"
    return "the cluster has no GatewayClass that its controller accepted"


def _words(decision: Decision, found: Capabilities) -> str:
    match decision.where:
        case Where.GATEWAY:
            return f"gateway ({found.gateway_class})"
        case Where.ROUTER:
            return f"builtin router: {decision.reason}"
        case Where.NOBODY:
            return f"not available because {decision.reason}"
