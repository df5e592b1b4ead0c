"""What pods of the platform have in common: nobody in particular, nothing written but to volumes."""

from __future__ import annotations

from modelyard.installing.tree import All, Condition, Equals, Given, Tree, Value, When

USER = 10_001
POD_SECURITY: Tree = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Tree = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
CONTROL_NODES: Tree = {
    "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": {"matchExpressions": [
                {"key": "modelyard.dev/role-control", "operator": "In", "values": ["true"]},
            ]}},
            {"weight": 50, "preference": {"matchExpressions": [
                {"key": "modelyard.dev/classes", "operator": "DoesNotExist"},
            ]}},
        ]
    }
}  # fmt: skip
"""Rather nodes of class `control`, then those that nobody classified, which are of every class.

Preferred only: classes are given by the platform, so that none may keep it from running.
"""
_ON_HOST: Condition = Equals("bind.kind", "HostPort")


def setting(name: str, value: Tree) -> Tree:
    """A setting as a variable of the environment."""
    return {"name": f"MODELYARD_{name}", "value": value}


def field(name: str, path: str) -> Tree:
    """What the cluster knows of the pod, as a variable of the environment."""
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def listens(name: str, port: int, outside: str) -> Tree:
    """A port of the front door; on its node too, where values want that."""
    return {
        "name": name,
        "containerPort": port,
        "hostPort": When(_ON_HOST, Value(outside)),
        "hostIP": When(All((_ON_HOST, Given("bind.ip"))), Value("bind.ip")),
    }


def probe(path: str, port: int) -> dict[str, Tree]:
    """How the kubelet asks."""
    return {"httpGet": {"path": path, "port": port}, "periodSeconds": 5, "timeoutSeconds": 5}
