"""The Job that tries a node's GPU: it asks for one, lists what it sees, and goes by itself; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.capabilities import MIG, SHARED
from modelyard.backends.kubernetes.gpus import claims
from modelyard.backends.kubernetes.kinds import JOB, RESOURCE_CLAIM_TEMPLATE, Manifest
from modelyard.backends.kubernetes.nodes import node_of
from modelyard.backends.kubernetes.render import pod
from modelyard.domain import cards
from modelyard.domain.node import NodeClass
from modelyard.installing.gpus.fixes import labels
from modelyard.installing.gpus.stack import Seen, given
from modelyard.installing.verdict import Check

CONTAINER = "smoke"
SMOKE = "modelyard.dev/smoke"
"""Label of the Jobs of one `doctor`, and of their pods."""
KEPT_SECONDS = 60
"""How long a finished Job stays when nobody is left to remove it."""
GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One node that is tried."""

    name: str
    """Of the Job."""
    namespace: str
    node: str
    host: str
    """Value of its label `kubernetes.io/hostname`."""
    product: str
    """What its label says that the card is; empty without one."""
    resource: str
    """What is asked for, such as `nvidia.com/gpu` or `nvidia.com/mig-1g.10gb`; empty for a claim."""
    image: str
    seconds: float
    run: str
    """Value of the label that all Jobs of this run have."""
    runtime_class: str = ""

    @property
    def claims(self) -> bool:
        """Whether its card is claimed, as there is none to be asked for by number."""
        return not self.resource


@dataclass(frozen=True, slots=True)
class Skipped:
    """A node with cards that is not tried, and what is said of it."""

    check: Check


def resource_of(node: Manifest) -> str:
    """What a Job is to ask for, to see a card of this node; empty when there is nothing."""
    there = given(node)
    known = [each for each in there if each in (GPU, SHARED)] or [
        each for each in there if each.startswith(MIG)
    ]
    return min(known, default="")


def skipped(seen: Seen) -> tuple[Skipped, ...]:
    """The nodes with cards that no Job can be sent to, or none should."""
    return tuple(Skipped(check) for node in seen.carded if (check := _skipped(node, seen)) is not None)


def tried(seen: Seen) -> tuple[Manifest, ...]:
    """The nodes that a Job is sent to."""
    return tuple(node for node in seen.carded if _skipped(node, seen) is None)


def claim(trial: Trial) -> tuple[Manifest, ...]:
    """What the Job's pod claims its card by, where cards are claimed."""
    if not trial.claims:
        return ()
    return (
        {
            "apiVersion": RESOURCE_CLAIM_TEMPLATE.api_version,
            "kind": RESOURCE_CLAIM_TEMPLATE.name,
            "metadata": {
                "name": trial.name,
                "namespace": trial.namespace,
                "labels": {names.MANAGED_BY: names.MANAGER, SMOKE: trial.run},
            },
            "spec": {"spec": claims.any_card()},
        },
    )


def job(trial: Trial) -> Manifest:
    """One try, on that node only, with a deadline, and gone a while after its end even when nobody looks."""
    found = {names.MANAGED_BY: names.MANAGER, SMOKE: trial.run}
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {"name": trial.name, "namespace": trial.namespace, "labels": found},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": math.ceil(trial.seconds),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": found}, "spec": _pod(trial)},
        },
    }


def _skipped(node: Manifest, seen: Seen) -> Check | None:
    known = node_of(node)
    what = f"smoke on {known.name}"
    if not known.ready:
        return Check(
            name=what,
            ok=False,
            message=f"not tried, as the node takes no pods: {known.reason or 'not ready'}",
        )
    if NodeClass.COMPUTE not in known.classes:
        classes = ", ".join(known.classes) or "none"
        return Check(
            name=what, ok=True, message=f"not tried, as the node is not of class compute but {classes}"
        )
    if not resource_of(node) and not seen.claimed(node):
        there = ", ".join(given(node)) or "nothing"
        return Check(
            name=what, ok=False, message=f"not tried, as pods may ask there for {there}, and for no card"
        )
    return None


def _pod(trial: Trial) -> Manifest:
    affinity = pod.affinity("compute")
    required = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    for term in required["nodeSelectorTerms"]:
        term["matchExpressions"].append(
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [trial.host]}
        )
    spec: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "affinity": affinity,
        "tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
        "securityContext": pod.security(),
        "containers": [_container(trial)],
    }
    if trial.claims:
        spec["resourceClaims"] = [{"name": claims.REQUEST, "resourceClaimTemplateName": trial.name}]
    elif trial.runtime_class:
        spec["runtimeClassName"] = trial.runtime_class
    return spec


def _container(trial: Trial) -> Manifest:
    return {
        "name": CONTAINER,
        "image": trial.image,
        "command": list(cards.LIST),
        # The program itself is laid into the container by the toolkit, where this is asked of it.
        "env": [{"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "compute,utility"}],
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"memory": "256Mi", **({trial.resource: "1"} if trial.resource else {})},
            **({"claims": [{"name": claims.REQUEST}]} if trial.claims else {}),
        },
        "securityContext": pod.restricted(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def host_of(node: Manifest) -> str:
    """What its label calls it, which is mostly its name."""
    return labels(node).get("kubernetes.io/hostname") or str(node["metadata"]["name"])
