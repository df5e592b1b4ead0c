"""What nodes say of their GPUs: names, cards, and how they are divided; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.gpus import partitions
from modelyard.backends.kubernetes.kinds import Manifest

PRODUCT = "nvidia.com/gpu.product"
TYPES = ("gpu-type", "accelerator", "gpu")
"""Labels by which people say themselves what a node's cards are, where feature discovery does not."""
_OURS = ("nvidia.com/", "volcano.sh/vgpu-")
_NO_TYPES = ("true", "false", "on", "off", "yes", "no")
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
        types=frozenset(type_ for each in labels if (type_ := named_by_hand(each)) is not None),
        products=frozenset(each[PRODUCT] for each in labels if each.get(PRODUCT)),
        hami=any(_HAMI in ((node.get("metadata") or {}).get("annotations") or {}) for node in found),
        kai=known.serves(_KAI),
        # Where nodes divide their cards into different numbers of parts, nobody can say what one part is.
        parts=parts.pop() if len(parts) == 1 else 0,
        partitions=frozenset(
            part
            for node, each in zip(found, labels, strict=True)
            for part in partitions.of_node(each, (node.get("status") or {}).get("allocatable") or {})
        ),
        sharing=divided[0]["nvidia.com/gpu.sharing-strategy"] if divided else "",
    )
    return replace(known, gpus=gpus)


def named_by_hand(labels: Mapping[str, str]) -> tuple[str, str] | None:
    """Label and value by which somebody says what a node's cards are, unless feature discovery does."""
    if labels.get(PRODUCT):
        return None
    found = ((key, labels.get(key, "")) for key in TYPES)
    return next(((key, value) for key, value in found if value and value not in _NO_TYPES), None)


def _is_number(labels: dict[str, str]) -> bool:
    return labels.get("nvidia.com/gpu.replicas", "").isdecimal()
