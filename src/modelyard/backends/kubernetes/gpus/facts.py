"""What nodes say of their GPUs: names, cards, and how they are divided; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.kinds import Manifest

PRODUCT = "nvidia.com/gpu.product"
_OURS = ("nvidia.com/", "volcano.sh/vgpu-")
_HAMI = "hami.io/node-nvidia-register"
_KAI = "scheduling.run.ai/v2/queues"


def with_nodes(known: Capabilities, nodes: Iterable[Manifest]) -> Capabilities:
    """What is known of the cluster, with the GPUs of its nodes as they are now."""
    found = tuple(nodes)
    resources = frozenset(
        name
        for node in found
        for name, amount in ((node.get("status") or {}).get("allocatable") or {}).items()
        if name.startswith(_OURS) and str(amount) != "0"
    )
    labels = tuple((node.get("metadata") or {}).get("labels") or {} for node in found)
    divided = [each for each in labels if each.get("nvidia.com/gpu.sharing-strategy", "none") != "none"]
    parts = {int(each["nvidia.com/gpu.replicas"]) for each in divided if _is_number(each)}
    gpus = replace(
        known.gpus,
        resources=resources,
        products=frozenset(each[PRODUCT] for each in labels if each.get(PRODUCT)),
        hami=any(_HAMI in ((node.get("metadata") or {}).get("annotations") or {}) for node in found),
        kai=known.serves(_KAI),
        # Where nodes divide their cards into different numbers of parts, nobody can say what one part is.
        parts=parts.pop() if len(parts) == 1 else 0,
        sharing=divided[0]["nvidia.com/gpu.sharing-strategy"] if divided else "",
    )
    return replace(known, gpus=gpus)


def _is_number(labels: dict[str, str]) -> bool:
    return labels.get("nvidia.com/gpu.replicas", "").isdecimal()
