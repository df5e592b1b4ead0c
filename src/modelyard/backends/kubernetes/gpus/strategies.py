"""The ways in which clusters give out GPUs, and which of them serves a request; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from modelyard.backends.kubernetes.capabilities import MIG, SHARED, Capabilities, Gpus
from modelyard.backends.kubernetes.gpus import claims, partitions
from modelyard.backends.kubernetes.gpus.fragment import Fragment, Refusal
from modelyard.domain import gpu
from modelyard.domain.gpu import GpuRequest, Mode

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
USES_GPU = "modelyard.dev/gpu"
"""Label of pods that hold GPUs: others come to where such are, so that whole nodes stay free."""
TIME_SLICING, MPS = "time-slicing", "MPS"
_TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
_BIN_PACKING_WEIGHT = 10

Strategy = Callable[[GpuRequest, Capabilities], Fragment | str]
"""What a way adds to the pod, or what it would need."""


def pods_of(request: GpuRequest, capabilities: Capabilities) -> Fragment | Refusal:
    """What is added to a pod for this request: by the first way of the cluster that serves it whole."""
    if not request.count:
        return Fragment(env=_hidden(capabilities.gpus))
    needs: list[str] = []
    for name, strategy in _STRATEGIES:
        found = strategy(request, capabilities)
        if isinstance(found, Fragment):
            return found
        if found:
            needs.append(f"{name}: {found}")
    asked = gpu.write(request)
    return Refusal(f"`{asked}` is given out by no way of this cluster. It would take {'; '.join(needs)}")


def whole(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """Whole cards by the device plugin; from 1.37 a DRA driver serves the same resource."""
    if request.divided:
        return ""
    limits = {GPU: str(request.count)}
    if capabilities.gpus.hami:
        # Its plugin counts parts under the same name: all of the card's memory is the whole card.
        limits |= {"nvidia.com/gpumem-percentage": "100", "nvidia.com/gpucores": "100"}
    return _placed(
        request, capabilities.gpus,
        Fragment(
            strategy="device plugin", limits=limits,
            annotations=_hami_types(request) if capabilities.gpus.hami else {},
        ),
    )  # fmt: skip


def hami(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """Parts of a card kept apart by HAMi."""
    if request.mig or request.mode is Mode.SHARED or not request.divided:
        return ""
    if not capabilities.gpus.hami:
        return "its scheduler and device plugin"
    limits = {GPU: str(request.count)}
    if request.mem_mib:
        limits["nvidia.com/gpumem"] = str(request.mem_mib)
    if request.percent:
        limits["nvidia.com/gpumem-percentage"] = str(request.percent)
    if cores := request.cores_percent or request.percent:
        limits["nvidia.com/gpucores"] = str(cores)
    return _placed(
        request, capabilities.gpus,
        Fragment(
            strategy="HAMi", limits=limits, scheduler="hami-scheduler",
        annotations={**_hami_types(request), "hami.io/gpu-scheduler-policy": "binpack"},
        memory="by a library in the container", compute="by a library in the container",
        ),
    )  # fmt: skip


def volcano(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """Parts of a card kept apart by Volcano's vGPU plugin, by their memory."""
    if request.mig or request.mode is Mode.SHARED or not request.divided:
        return ""
    if "volcano.sh/vgpu-number" not in capabilities.gpus.resources:
        return "its vGPU device plugin"
    if not request.mem_mib:
        return "the memory in place of a fraction, as in `mem=4Gi`"
    limits = {"volcano.sh/vgpu-number": str(request.count), "volcano.sh/vgpu-memory": str(request.mem_mib)}
    if request.cores_percent:
        limits["volcano.sh/vgpu-cores"] = str(request.cores_percent)
    return _placed(
        request, capabilities.gpus,
        Fragment(
            strategy="Volcano vGPU", limits=limits, scheduler="volcano",
        annotations={"volcano.sh/vgpu-mode": "hami-core"},
        memory="by a library in the container", compute="by a library in the container",
        ),
    )  # fmt: skip


def mig(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """A hardware partition: of the profile that was asked for, or the smallest that is large enough."""
    if not request.mig:
        return _partitioned(request, capabilities.gpus)
    there = capabilities.gpus.profiles
    profile = request.mig.replace("+", ".")
    if profile not in there:
        return f"nodes with the profile {request.mig}; there are: {', '.join(there) or 'none'}"
    return _placed(request, capabilities.gpus, _partition(request, profile))


def _partitioned(request: GpuRequest, facts: Gpus) -> Fragment | str:
    if not request.divided or request.mode is Mode.SHARED:
        return ""
    if not (request.percent or request.mem_mib or request.cores_percent):
        return "a profile or a fraction, as in `mig=1g.10gb` or `0.2`"
    found = partitions.smallest(request, facts.partitions)
    if isinstance(found, str):
        return found
    size = f"{found[0].profile}, {' or '.join(sorted(map(partitions.words, found)))}"
    fragment = replace(_partition(request, found[0].profile), size=size)
    return _placed(request, facts, fragment, products=tuple(sorted(each.product for each in found)))


def _partition(request: GpuRequest, profile: str) -> Fragment:
    limits = {MIG + profile: str(request.count)}
    return Fragment(strategy="MIG", limits=limits, memory="by hardware", compute="by hardware")


def sliced(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """Equal parts of a card, by time or by MPS: only what is a whole number of such parts."""
    facts = capabilities.gpus
    if request.mig or not request.divided:
        return ""
    if facts.parts < 2:
        return "a device plugin that divides cards (`sharing` in its configuration)"
    if request.mode is Mode.VGPU and facts.sharing != "mps":
        return "parts that are kept apart, which time-slicing does not do"
    if request.mem_mib or request.cores_percent:
        return f"a fraction of 1/{facts.parts} in place of `mem` and `cores`"
    if request.percent and request.percent * facts.parts != 100:
        return f"a fraction of 1/{facts.parts}: cards have {facts.parts} parts, and nothing is rounded"
    if request.count > 1:
        return "one part only: several parts may be of one card"
    mps = facts.sharing == "mps"
    return _placed(
        request, facts,
        Fragment(
            strategy=MPS if mps else TIME_SLICING, limits={SHARED if SHARED in facts.resources else GPU: "1"},
        memory="equal shares by MPS" if mps else "not enforced",
        compute="equal shares by MPS" if mps else "turns, not enforced",
        ),
    )  # fmt: skip


def kai(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """Parts of a card that the KAI scheduler accounts for, and nothing enforces."""
    if request.mig or not request.divided or request.mode is Mode.VGPU:
        return ""
    if not capabilities.gpus.kai:
        return "its scheduler with `global.gpuSharing=true`"
    if request.cores_percent or request.count > 1 or not (request.percent or request.mem_mib):
        return "a fraction or `mem` of one card, without `cores`"
    if request.percent:
        annotations = {"gpu-fraction": f"{request.percent / 100:g}"}
    else:
        annotations = {"gpu-memory": str(request.mem_mib)}
    return _placed(
        request, capabilities.gpus,
        Fragment(
            strategy="KAI", limits={}, scheduler="kai-scheduler", annotations=annotations,
        memory="not enforced", compute="not enforced",
        ),
    )  # fmt: skip


def claimed(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """Whole cards that are claimed by their type."""
    return _held(claims.whole(request, capabilities), capabilities.gpus)


def claimed_part(request: GpuRequest, capabilities: Capabilities) -> Fragment | str:
    """Parts of a card's memory that are claimed, and that nothing enforces."""
    return _held(claims.part(request, capabilities), capabilities.gpus)


def _held(found: Fragment | str, facts: Gpus) -> Fragment | str:
    """A claim leads its pod to its node, and the driver shows it the card without a runtime class."""
    if isinstance(found, str):
        return found
    return replace(
        found,
        beside=_hidden(facts),
        labels={USES_GPU: "true"},
        tolerations=(_TOLERATION,),
        prefers=(_together(),),
    )


def _placed(
    request: GpuRequest, facts: Gpus, found: Fragment, *, products: tuple[str, ...] = ()
) -> Fragment | str:
    """The fragment with the nodes it may go to; what is lacking where no node has such a card.

    With `products` it is only nodes with cards that are labelled so.

    Whole cards of a type that is not there are asked for by its own name: they wait until it comes.
    """
    divided = tuple(each for each in facts.products if each.endswith("-SHARED") or "-MIG-" in each)
    usable = facts.products - set(divided) if not request.divided else facts.products
    if found.strategy in (TIME_SLICING, MPS):
        usable = frozenset(each for each in divided if each.endswith("-SHARED"))
    there, key = gpu.matching(usable, request.models), PRODUCT
    if request.models and not there and not products:
        key, there = _by_hand(request, facts)
    if request.models and not there and request.divided:
        known = ", ".join(sorted({*usable, *(value for _, value in facts.types)})) or "none"
        return f"a card of type {' or '.join(request.models)}; there are: {known}"
    terms: list[dict[str, Any]] = []
    if products:
        terms.append({"key": PRODUCT, "operator": "In", "values": list(products)})
    elif request.models or found.strategy in (TIME_SLICING, MPS):
        terms.append({"key": key, "operator": "In", "values": list(there or request.models)})
    elif divided and not request.divided:
        terms.append({"key": PRODUCT, "operator": "NotIn", "values": sorted(divided)})
    return replace(
        found,
        beside=_hidden(facts),
        labels={USES_GPU: "true"},
        runtime_class=facts.runtime_class,
        node_terms=tuple(terms),
        tolerations=(_TOLERATION,),
        prefers=(_together(),),
    )


def _by_hand(request: GpuRequest, facts: Gpus) -> tuple[str, tuple[str, ...]]:
    """The label by which people say that cards are of the type, and its values; the product's for none."""
    for key in sorted({key for key, _ in facts.types}):
        values = (value for known, value in facts.types if known == key)
        if found := gpu.matching(values, request.models):
            return key, found
    return PRODUCT, ()


def _hidden(facts: Gpus) -> dict[str, str]:
    """What shows no card to a container that asked for none."""
    return {"NVIDIA_VISIBLE_DEVICES": "void" if facts.cdi else "none"}


def _hami_types(request: GpuRequest) -> dict[str, str]:
    return {"nvidia.com/use-gputype": ",".join(request.models)} if request.models else {}


def _together() -> dict[str, Any]:
    """Rather where GPUs are in use already, so that whole nodes stay free for what needs them."""
    return {
        "weight": _BIN_PACKING_WEIGHT,
        "podAffinityTerm": {
            "labelSelector": {"matchLabels": {USES_GPU: "true"}},
            "namespaceSelector": {},
            "topologyKey": "kubernetes.io/hostname",
        },
    }


_STRATEGIES: tuple[tuple[str, Strategy], ...] = (
    ("DRA", claimed),
    ("device plugin", whole),
    ("HAMi", hami),
    ("Volcano vGPU", volcano),
    ("MIG", mig),
    ("time-slicing or MPS", sliced),
    ("KAI scheduler", kai),
    ("DRA", claimed_part),
)
