"""Custom resources that clusters have: Gateway API and KEDA, as far as we write and read them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.cluster.schemas import Resource

Node = dict[str, Any]

GATEWAY_GROUP = "gateway.networking.k8s.io"
KEDA_GROUP = "keda.sh"


def _object(*required: str, **properties: Node) -> Node:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(item: Node, *keys: str, most: int = 0) -> Node:
    """A list: merged by keys, or replaced as a whole."""
    how: Node = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)} if keys else {}
    return {"type": "array", "items": item, **({"maxItems": most} if most else {}), **how}


def _one_of(*values: str) -> Node:
    return {"type": "string", "enum": list(values)}


def _map(values: Node) -> Node:
    return {"type": "object", "additionalProperties": values}


TEXT: Node = {"type": "string"}
NUMBER: Node = {"type": "integer"}
YES: Node = {"type": "boolean"}
ANY: Node = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEXTS = _list(TEXT)
_CONDITION = _object(
    "type", "status", "lastTransitionTime", "reason", "message",
    type=TEXT, status=_one_of("True", "False", "Unknown"), observedGeneration=NUMBER,
    lastTransitionTime=TEXT, reason=TEXT, message=TEXT,
)  # fmt: skip
CONDITIONS = _list(_CONDITION, "type")
SELECTOR = _object(
    matchLabels=_map(TEXT),
    matchExpressions=_list(_object("key", "operator", key=TEXT, operator=TEXT, values=TEXTS)),
)
_PARENT = {
    "group": TEXT, "kind": TEXT, "namespace": TEXT, "name": TEXT, "sectionName": TEXT, "port": NUMBER,
}  # fmt: skip
_BACKEND = {"group": TEXT, "kind": TEXT, "name": TEXT, "namespace": TEXT, "port": NUMBER}
_HEADER = _object("name", "value", name=TEXT, value=TEXT)
_HEADERS = _object(set=_list(_HEADER, "name"), add=_list(_HEADER, "name"), remove=TEXTS)
_PATH = _object(
    "type",
    type=_one_of("ReplaceFullPath", "ReplacePrefixMatch"), replaceFullPath=TEXT, replacePrefixMatch=TEXT,
)  # fmt: skip
_MIRROR = _object(
    "backendRef",
    backendRef=_object("name", **_BACKEND),
    percent=NUMBER,
    fraction=_object("numerator", numerator=NUMBER, denominator=NUMBER),
)
_FILTERS: dict[str, Node] = {
    "requestHeaderModifier": _HEADERS,
    "responseHeaderModifier": _HEADERS,
    "requestMirror": _MIRROR,
    "extensionRef": _object("group", "kind", "name", group=TEXT, kind=TEXT, name=TEXT),
}
_KINDS = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef")
_HTTP_FILTER = _object(
    "type",
    type=_one_of(*_KINDS, "RequestRedirect", "URLRewrite", "CORS"),
    **_FILTERS,
    requestRedirect=_object(
        scheme=_one_of("http", "https"), hostname=TEXT, path=_PATH, port=NUMBER, statusCode=NUMBER
    ),
    urlRewrite=_object(hostname=TEXT, path=_PATH),
    cors=_object(
        allowOrigins=TEXTS, allowMethods=TEXTS, allowHeaders=TEXTS, exposeHeaders=TEXTS,
        allowCredentials=YES, maxAge=NUMBER,
    ),
)  # fmt: skip
_GRPC_FILTER = _object("type", type=_one_of(*_KINDS), **_FILTERS)
_MATCH = _object("name", "value", type=_one_of("Exact", "RegularExpression"), name=TEXT, value=TEXT)
_HTTP_MATCH = _object(
    path=_object(type=_one_of("Exact", "PathPrefix", "RegularExpression"), value=TEXT),
    headers=_list(_MATCH, "name", most=16),
    queryParams=_list(_MATCH, "name", most=16),
    method=_one_of("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
)
_GRPC_MATCH = _object(
    method=_object(type=_one_of("Exact", "RegularExpression"), service=TEXT, method=TEXT),
    headers=_list(_MATCH, "name", most=16),
)


def _backends(filters: Node) -> Node:
    weighted = {**_BACKEND, "weight": {"type": "integer", "minimum": 0}, "filters": _list(filters, most=16)}
    return _list(_object("name", **weighted), most=16)


_HTTP_RULE = _object(
    name=TEXT,
    matches=_list(_HTTP_MATCH, most=64),
    filters=_list(_HTTP_FILTER, most=16),
    backendRefs=_backends(_HTTP_FILTER),
    timeouts=_object(request=TEXT, backendRequest=TEXT),
)
_GRPC_RULE = _object(
    name=TEXT,
    matches=_list(_GRPC_MATCH, most=64),
    filters=_list(_GRPC_FILTER, most=16),
    backendRefs=_backends(_GRPC_FILTER),
)
_ROUTE_STATUS = _object(
    "parents",
    parents=_list(
        _object(
            "parentRef", "controllerName",
            parentRef=_object("name", **_PARENT), controllerName=TEXT, conditions=CONDITIONS,
        ),
        most=32,
    ),
)  # fmt: skip


def _route(rule: Node) -> Node:
    spec = _object(
        parentRefs=_list(_object("name", **_PARENT), most=32),
        hostnames=_list(TEXT, most=16),
        rules=_list(rule, most=16),
    )
    return _object("spec", spec=spec, status=_ROUTE_STATUS)


_LISTENER = _object(
    "name", "port", "protocol",
    name=TEXT, hostname=TEXT, port=NUMBER, protocol=TEXT,
    tls=_object(
        mode=_one_of("Terminate", "Passthrough"),
        certificateRefs=_list(_object("name", group=TEXT, kind=TEXT, name=TEXT, namespace=TEXT)),
        options=_map(TEXT),
    ),
    allowedRoutes=_object(
        namespaces=_object(**{"from": _one_of("All", "Selector", "Same", "None")}, selector=SELECTOR),
        kinds=_list(_object("kind", group=TEXT, kind=TEXT)),
    ),
)  # fmt: skip
_LISTENER_STATUS = _object(
    "name", "attachedRoutes",
    name=TEXT, supportedKinds=_list(_object("kind", group=TEXT, kind=TEXT)), attachedRoutes=NUMBER,
    conditions=CONDITIONS,
)  # fmt: skip
_GATEWAY = _object(
    "spec",
    spec=_object(
        "gatewayClassName", "listeners",
        gatewayClassName=TEXT,
        listeners=_list(_LISTENER, "name", most=64),
        addresses=_list(_object(type=TEXT, value=TEXT), most=16),
        infrastructure=_object(
            labels=_map(TEXT), annotations=_map(TEXT),
            parametersRef=_object("group", "kind", "name", group=TEXT, kind=TEXT, name=TEXT),
        ),
    ),
    status=_object(
        addresses=_list(_object("value", type=TEXT, value=TEXT)),
        conditions=CONDITIONS,
        listeners=_list(_LISTENER_STATUS, "name"),
    ),
)  # fmt: skip
_GATEWAY_CLASS = _object(
    "spec",
    spec=_object(
        "controllerName", controllerName=TEXT, description=TEXT,
        parametersRef=_object("group", "kind", "name", group=TEXT, kind=TEXT, name=TEXT, namespace=TEXT),
    ),
    status=_object(
        conditions=CONDITIONS, supportedFeatures=_list(_object("name", name=TEXT), "name", most=64)
    ),
)  # fmt: skip
_GRANT = _object(
    spec=_object(
        "from", "to",
        **{"from": _list(_object("group", "kind", "namespace", group=TEXT, kind=TEXT, namespace=TEXT))},
        to=_list(_object("group", "kind", group=TEXT, kind=TEXT, name=TEXT), most=16),
    )
)  # fmt: skip
_SCALED = _object(
    "spec",
    spec=_object(
        "scaleTargetRef", "triggers",
        scaleTargetRef=_object("name", name=TEXT, apiVersion=TEXT, kind=TEXT, envSourceContainerName=TEXT),
        pollingInterval=NUMBER, initialCooldownPeriod=NUMBER, cooldownPeriod=NUMBER,
        idleReplicaCount=NUMBER, minReplicaCount=NUMBER, maxReplicaCount=NUMBER,
        advanced=_object(
            horizontalPodAutoscalerConfig=_object(name=TEXT, behavior=ANY), restoreToOriginalReplicaCount=YES
        ),
        fallback=_object(failureThreshold=NUMBER, replicas=NUMBER, behavior=TEXT),
        triggers=_list(
            _object(
                "type", "metadata",
                type=TEXT, name=TEXT, metadata=_map(TEXT), useCachedMetrics=YES,
                metricType=_one_of("AverageValue", "Value", "Utilization"),
                authenticationRef=_object("name", name=TEXT, kind=TEXT),
            )
        ),
    ),
    status=ANY,
)  # fmt: skip
_SECRET_REFERENCE = _object("parameter", "name", "key", parameter=TEXT, name=TEXT, key=TEXT)
_AUTHENTICATION = _object(
    "spec",
    spec=_object(
        podIdentity=ANY,
        secretTargetRef=_list(_SECRET_REFERENCE),
        env=_list(_object("parameter", "name", parameter=TEXT, name=TEXT, containerName=TEXT)),
    ),
    status=ANY,
)


def _custom(resource: Resource, schema: Node) -> tuple[Resource, str]:
    properties = {"apiVersion": TEXT, "kind": TEXT, "metadata": {"$ref": _META}, **schema["properties"]}
    return resource, json.dumps({**schema, "properties": properties})


_META = "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

GATEWAY_API = (
    _custom(Resource(GATEWAY_GROUP, "v1", "GatewayClass", "gatewayclasses", False, ("gc",)), _GATEWAY_CLASS),
    _custom(Resource(GATEWAY_GROUP, "v1", "Gateway", "gateways", True, ("gtw",)), _GATEWAY),
    _custom(Resource(GATEWAY_GROUP, "v1", "HTTPRoute", "httproutes"), _route(_HTTP_RULE)),
    _custom(Resource(GATEWAY_GROUP, "v1", "GRPCRoute", "grpcroutes"), _route(_GRPC_RULE)),
    _custom(
        Resource(GATEWAY_GROUP, "v1beta1", "ReferenceGrant", "referencegrants", True, ("refgrant",)), _GRANT
    ),
)
KEDA = (
    _custom(Resource(KEDA_GROUP, "v1alpha1", "ScaledObject", "scaledobjects", True, ("so",)), _SCALED),
    _custom(
        Resource(KEDA_GROUP, "v1alpha1", "TriggerAuthentication", "triggerauthentications", True, ("ta",)),
        _AUTHENTICATION,
    ),
)
