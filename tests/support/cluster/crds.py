"""Custom resources that clusters have: Gateway API, KEDA and Kueue, as far as we write and read them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.cluster.schemas import Resource

Node = dict[str, Any]

GATEWAY_GROUP = "gateway.networking.k8s.io"
KEDA_GROUP = "keda.sh"
KUEUE_GROUP = "kueue.x-k8s.io"


def _object(*required: str, **properties: Node) -> Node:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(item: Node, *keys: str, most: int = 0, least: int = 0) -> Node:
    """A list: merged by keys, or replaced as a whole."""
    how: Node = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)} if keys else {}
    bounds = {"maxItems": most} if most else {}
    return {"type": "array", "items": item, **bounds, **({"minItems": least} if least else {}), **how}


def _text(pattern: str = "", *, most: int, least: int = 1) -> Node:
    """A text of so many characters, of this form."""
    form = {"pattern": f"^({pattern})$"} if pattern else {}
    return {"type": "string", "minLength": least, "maxLength": most, **form}


def _number(least: int, most: int) -> Node:
    return {"type": "integer", "minimum": least, "maximum": most}


def _one_of(*values: str) -> Node:
    return {"type": "string", "enum": list(values)}


def _map(values: Node) -> Node:
    return {"type": "object", "additionalProperties": values}


TEXT: Node = {"type": "string"}
NUMBER: Node = {"type": "integer"}
YES: Node = {"type": "boolean"}
ANY: Node = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEXTS = _list(TEXT)
_INT32 = 2**31 - 1
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
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
_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_DOTTED = rf"{_LABEL}(\.{_LABEL})*"
_GROUP = _text(f"|{_DOTTED}", least=0, most=253)
_KIND = _text("[a-zA-Z]([a-zA-Z0-9-]*[a-zA-Z0-9])?", most=63)
_NAME = _text(most=253)
_SECTION = _text(_DOTTED, most=253)
_NAMESPACE = _text(_LABEL, most=63)
_HOST = _text(rf"(\*\.)?{_DOTTED}", most=253)
_PRECISE_HOST = _text(_DOTTED, most=253)
_HEADER_NAME = _text(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+", most=256)
_DURATION = _text("([0-9]{1,5}(h|m|s|ms)){1,4}", most=99)
_PORT = _number(1, 65_535)
_PARENT = {
    "group": _GROUP, "kind": _KIND, "namespace": _NAMESPACE, "name": _NAME, "sectionName": _SECTION,
    "port": _PORT,
}  # fmt: skip
_BACKEND = {"group": _GROUP, "kind": _KIND, "name": _NAME, "namespace": _NAMESPACE, "port": _PORT}
_HEADER = _object("name", "value", name=_HEADER_NAME, value=_text(most=4096))
_HEADERS = _object(
    set=_list(_HEADER, "name", most=16), add=_list(_HEADER, "name", most=16), remove=_list(TEXT, most=16)
)
_NEW_PATH = _text(least=0, most=1024)
_PATH = _object(
    "type",
    type=_one_of("ReplaceFullPath", "ReplacePrefixMatch"),
    replaceFullPath=_NEW_PATH, replacePrefixMatch=_NEW_PATH,
)  # fmt: skip
_MIRROR = _object(
    "backendRef",
    backendRef=_object("name", **_BACKEND),
    percent=_number(0, 100),
    fraction=_object("numerator", numerator=_number(0, _INT32), denominator=_number(1, _INT32)),
)
_FILTERS: dict[str, Node] = {
    "requestHeaderModifier": _HEADERS,
    "responseHeaderModifier": _HEADERS,
    "requestMirror": _MIRROR,
    "extensionRef": _object("group", "kind", "name", group=_GROUP, kind=_KIND, name=_NAME),
}
_KINDS = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef")
_HTTP_FILTER = _object(
    "type",
    type=_one_of(*_KINDS, "RequestRedirect", "URLRewrite", "CORS"),
    **_FILTERS,
    requestRedirect=_object(
        scheme=_one_of("http", "https"), hostname=_PRECISE_HOST, path=_PATH, port=_PORT,
        statusCode={"type": "integer", "enum": [301, 302, 303, 307, 308]},
    ),
    urlRewrite=_object(hostname=_PRECISE_HOST, path=_PATH),
    cors=_object(
        allowOrigins=_list(_text(most=253), most=64), allowMethods=_list(_one_of(*_METHODS, "*"), most=9),
        allowHeaders=_list(_HEADER_NAME, most=64), exposeHeaders=_list(_HEADER_NAME, most=64),
        allowCredentials=YES, maxAge=_number(1, _INT32),
    ),
)  # fmt: skip
_GRPC_FILTER = _object("type", type=_one_of(*_KINDS), **_FILTERS)


def _matches(most: int) -> Node:
    """By names, each of which counts once; values have so many characters."""
    how = _one_of("Exact", "RegularExpression")
    return _list(
        _object("name", "value", type=how, name=_HEADER_NAME, value=_text(most=most)), "name", most=16
    )


_HTTP_MATCH = _object(
    path=_object(type=_one_of("Exact", "PathPrefix", "RegularExpression"), value=_text(least=0, most=1024)),
    headers=_matches(4096),
    queryParams=_matches(1024),
    method=_one_of(*_METHODS),
)
_GRPC_MATCH = _object(
    method=_object(
        type=_one_of("Exact", "RegularExpression"),
        service=_text(least=0, most=1024),
        method=_text(least=0, most=1024),
    ),
    headers=_matches(4096),
)


def _backends(filters: Node) -> Node:
    weighted = {**_BACKEND, "weight": _number(0, 1_000_000), "filters": _list(filters, most=16)}
    return _list(_object("name", **weighted), most=16)


_HTTP_RULE = _object(
    name=_SECTION,
    matches=_list(_HTTP_MATCH, most=64),
    filters=_list(_HTTP_FILTER, most=16),
    backendRefs=_backends(_HTTP_FILTER),
    timeouts=_object(request=_DURATION, backendRequest=_DURATION),
)
_GRPC_RULE = _object(
    name=_SECTION,
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


def _route(rule: Node, *, least: int = 0) -> Node:
    spec = _object(
        parentRefs=_list(_object("name", **_PARENT), most=32),
        hostnames=_list(_HOST, most=16),
        rules=_list(rule, most=16, least=least),
    )
    return _object("spec", spec=spec, status=_ROUTE_STATUS)


_LISTENER = _object(
    "name", "port", "protocol",
    name=_SECTION, hostname=_HOST, port=_PORT, protocol=_text(most=255),
    tls=_object(
        mode=_one_of("Terminate", "Passthrough"),
        certificateRefs=_list(
            _object("name", group=_GROUP, kind=_KIND, name=_NAME, namespace=_NAMESPACE), most=64
        ),
        options=_map(TEXT),
    ),
    allowedRoutes=_object(
        namespaces=_object(**{"from": _one_of("All", "Selector", "Same")}, selector=SELECTOR),
        kinds=_list(_object("kind", group=_GROUP, kind=_KIND), most=8),
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
        gatewayClassName=_NAME,
        listeners=_list(_LISTENER, "name", most=64, least=1),
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
        **{
            "from": _list(
                _object("group", "kind", "namespace", group=_GROUP, kind=_KIND, namespace=_NAMESPACE),
                most=16, least=1,
            )
        },
        to=_list(_object("group", "kind", group=_GROUP, kind=_KIND, name=_NAME), most=16, least=1),
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


_AMOUNT: Node = {"x-kubernetes-int-or-string": True}
_CLUSTER_QUEUE = _object(
    spec=_object(
        cohortName=TEXT,
        namespaceSelector=SELECTOR,
        queueingStrategy=_one_of("StrictFIFO", "BestEffortFIFO"),
        stopPolicy=_one_of("None", "Hold", "HoldAndDrain"),
        preemption=ANY,
        resourceGroups=_list(
            _object(
                "coveredResources", "flavors",
                coveredResources=_list(TEXT, most=64),
                flavors=_list(
                    _object(
                        "name", "resources",
                        name=TEXT,
                        resources=_list(
                            _object(
                                "name", "nominalQuota",
                                name=TEXT, nominalQuota=_AMOUNT, borrowingLimit=_AMOUNT, lendingLimit=_AMOUNT,
                            ),
                            "name",
                            most=64,
                        ),
                    ),
                    "name",
                    most=64,
                ),
            ),
            most=16,
        ),
    ),
    status=ANY,
)  # fmt: skip
_LOCAL_QUEUE = _object(
    spec=_object(clusterQueue=TEXT, stopPolicy=_one_of("None", "Hold", "HoldAndDrain")), status=ANY
)
_NAMED: Node = {**TEXT, "default": "main"}
_WORKLOAD = _object(
    spec=_object(
        "podSets",
        podSets=_list(_object("template", name=_NAMED, count=NUMBER, template=ANY), "name", most=8),
        queueName=TEXT, priority=NUMBER, active=YES, maximumExecutionTimeSeconds=NUMBER,
    ),
    status=_object(conditions=CONDITIONS, admission=ANY),
)  # fmt: skip


def _custom(resource: Resource, schema: Node) -> tuple[Resource, str]:
    properties = {"apiVersion": TEXT, "kind": TEXT, "metadata": {"$ref": META}, **schema["properties"]}
    return resource, json.dumps({**schema, "properties": properties})


META = "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

GATEWAY_API = (
    _custom(Resource(GATEWAY_GROUP, "v1", "GatewayClass", "gatewayclasses", False, ("gc",)), _GATEWAY_CLASS),
    _custom(Resource(GATEWAY_GROUP, "v1", "Gateway", "gateways", True, ("gtw",)), _GATEWAY),
    _custom(Resource(GATEWAY_GROUP, "v1", "HTTPRoute", "httproutes"), _route(_HTTP_RULE, least=1)),
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
KUEUE = (
    _custom(
        Resource(KUEUE_GROUP, "v1beta2", "ClusterQueue", "clusterqueues", False, ("cq",)), _CLUSTER_QUEUE
    ),
    _custom(Resource(KUEUE_GROUP, "v1beta2", "LocalQueue", "localqueues", True, ("queue",)), _LOCAL_QUEUE),
    _custom(Resource(KUEUE_GROUP, "v1beta2", "Workload", "workloads", True, ("wl",)), _WORKLOAD),
)
