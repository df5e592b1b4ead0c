"""The registry's credentials in a project's namespace, since pods can only use what lies beside them."""

from __future__ import annotations

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import SECRET, Manifest


def pull_secret(source: Manifest, project: str, namespace: str) -> Manifest:
    """A copy of the platform's own Secret under the same name."""
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": {
            "name": source["metadata"]["name"],
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER, names.PROJECT: project},
        },
        "type": source.get("type", "kubernetes.io/dockerconfigjson"),
        "data": source.get("data") or {},
    }
