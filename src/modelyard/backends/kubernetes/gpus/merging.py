"""Putting what a request for GPUs adds into a pod template; pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from modelyard.backends.kubernetes.gpus.claims import REQUEST
from modelyard.backends.kubernetes.gpus.fragment import Fragment


def with_gpus(template: dict[str, Any], fragment: Fragment, *, claim: str = "") -> dict[str, Any]:
    """The template with the fragment in it; its first container is the one that computes.

    `claim` is the ResourceClaimTemplate of a fragment that claims its cards.
    """
    made = copy.deepcopy(template)
    metadata, spec = made["metadata"], made["spec"]
    metadata["labels"] = {**metadata.get("labels", {}), **fragment.labels}
    if fragment.annotations:
        metadata["annotations"] = {**metadata.get("annotations", {}), **fragment.annotations}
    _first(spec["containers"][0], fragment)
    _set(spec["containers"][0], fragment.env)
    for container in (*spec["containers"][1:], *spec.get("initContainers", ())):
        _set(container, {**fragment.env, **fragment.beside})
    if fragment.claim:
        spec["resourceClaims"] = [{"name": REQUEST, "resourceClaimTemplateName": claim}]
    if fragment.scheduler:
        spec["schedulerName"] = fragment.scheduler
    if fragment.runtime_class:
        spec["runtimeClassName"] = fragment.runtime_class
    if fragment.tolerations:
        spec["tolerations"] = [*spec.get("tolerations", ()), *map(dict, fragment.tolerations)]
    if fragment.node_terms or fragment.prefers:
        spec["affinity"] = _affinity(spec.get("affinity", {}), fragment)
    return made


def _first(container: dict[str, Any], fragment: Fragment) -> None:
    resources = container.setdefault("resources", {})
    if fragment.limits:
        resources["limits"] = {**resources.get("limits", {}), **fragment.limits}
    if fragment.claim:
        resources["claims"] = [{"name": REQUEST}]


def _set(container: dict[str, Any], env: Mapping[str, str]) -> None:
    """A container without GPUs sees none, whatever its image or the runtime would show by default."""
    if env:
        others = [each for each in container.get("env", ()) if each["name"] not in env]
        container["env"] = [*others, *({"name": name, "value": text} for name, text in env.items())]


def _affinity(affinity: dict[str, Any], fragment: Fragment) -> dict[str, Any]:
    made = dict(affinity)
    if fragment.node_terms:
        required = made.setdefault("nodeAffinity", {}).setdefault(
            "requiredDuringSchedulingIgnoredDuringExecution",
            {"nodeSelectorTerms": [{"matchExpressions": []}]},
        )
        for term in required["nodeSelectorTerms"]:
            term["matchExpressions"] = [*term["matchExpressions"], *map(dict, fragment.node_terms)]
    if fragment.prefers:
        preferred = made.setdefault("podAffinity", {})
        preferred["preferredDuringSchedulingIgnoredDuringExecution"] = [*map(dict, fragment.prefers)]
    return made
