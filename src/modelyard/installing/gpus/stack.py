"""The stack below a GPU, from the card to what pods may ask for, as objects of the cluster tell it; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.backends.kubernetes.capabilities import Capabilities, Device
from modelyard.backends.kubernetes.gpus.facts import named_by_hand
from modelyard.backends.kubernetes.kinds import Manifest, place
from modelyard.installing.gpus import fixes
from modelyard.installing.gpus.fixes import info, labels, name
from modelyard.installing.verdict import Check

DRIVER_FOR_IMAGE = 580
"""The oldest driver for CUDA 13, which the image `serving-cuda` brings (`locks/cuda.lock`)."""
_PLUGIN = re.compile(
    r"(nvidia|nvdp).*device-plugin|nvidia-gpu-device-plugin|hami-device|volcano-device|dra-driver"
)
_TOOLKIT = re.compile(r"nvidia.*container-toolkit")
_DRIVER = re.compile(r"nvidia.*driver-daemonset")
_OPERATOR = re.compile(r"nvidia-operator-validator|gpu-feature-discovery")
_GIVEN = ("nvidia.com/gpu", "nvidia.com/mig-", "volcano.sh/vgpu")
_OLDEST_CONTAINERD = (1, 7)
_OLDEST = (1, 31)
_SOCKETS = (
    "its socket on the node is /var/lib/kubelet/device-plugins/nvidia-gpu.sock, on MicroK8s below "
    "/var/snap/microk8s/common, on k0s below /var/lib/k0s"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was read of a cluster for the checks."""

    found: Capabilities
    nodes: Sequence[Manifest]
    daemons: Sequence[Manifest] = ()
    logs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The last line that a plugin wrote which is not well, by its DaemonSet's place."""

    @property
    def carded(self) -> tuple[Manifest, ...]:
        """Nodes that have cards, by any of their labels."""
        return tuple(node for node in self.nodes if _has_card(node) or self.claimed(node))

    def claimed(self, node: Manifest) -> tuple[Device, ...]:
        """Cards of a node that pods claim from NVIDIA's driver (dynamic resource allocation)."""
        facts = self.found.gpus
        return tuple(each for each in facts.devices if facts.claims and each.node == name(node))

    def gives(self, node: Manifest) -> str:
        """What pods may have of a node's cards, in words; empty for nothing."""
        parts = [f"{amount} {each}" for each, amount in given(node).items()]
        parts += [f"{len(claimed)} by claims"] if (claimed := self.claimed(node)) else []
        return ", ".join(parts)


def plugins(daemons: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The DaemonSets that give out GPUs."""
    return _named(daemons, _PLUGIN)


def is_well(daemon: Manifest) -> bool:
    """Whether it runs on every node that it should, and on one at least."""
    ready, wanted = _counts(daemon)
    return 0 < wanted <= ready


def given(node: Manifest) -> dict[str, str]:
    """What of GPUs pods may have of a node."""
    free = (node.get("status") or {}).get("allocatable") or {}
    return {
        each: str(free[each]) for each in sorted(free) if each.startswith(_GIVEN) and str(free[each]) != "0"
    }


def checks(seen: Seen) -> tuple[Check, ...]:
    """Every layer, from the card upwards, with what to do where one lacks."""
    return (
        _cards(seen),
        _versions(seen),
        _driver(seen),
        _toolkit(seen),
        _runtime_class(seen),
        _plugin(seen),
        _labels(seen),
        _allocatable(seen),
    )


def _has_card(node: Manifest) -> bool:
    said = labels(node)
    by_label = said.get("nvidia.com/gpu.product") or said.get("nvidia.com/gpu.present") == "true"
    return bool(by_label or said.get("feature.node.kubernetes.io/pci-10de.present") == "true" or given(node))


def _cards(seen: Seen) -> Check:
    there = ", ".join(sorted(map(name, seen.carded)))
    message = there or f"no node says that it has an NVIDIA card; {fixes.stack(seen.nodes)}"
    return Check(name="cards", ok=bool(there), message=message)


def _versions(seen: Seen) -> Check:
    """Kubelet and container runtime of the nodes with cards."""
    told = [_software(node) for node in seen.carded if info(node)]
    wrong = [f"{name(node)}: {why}" for node in seen.carded if (why := _too_old(node))]
    message = "; ".join(wrong or told) or "no node with a card tells its versions"
    return Check(name="versions", ok=not wrong, message=message)


def _software(node: Manifest) -> str:
    said = info(node)
    runtime = str(said.get("containerRuntimeVersion") or "?").replace("://", " ")
    return f"{name(node)}: kubelet {said.get('kubeletVersion') or '?'}, {runtime}"


def _too_old(node: Manifest) -> str:
    said = info(node)
    kind, _, version = str(said.get("containerRuntimeVersion") or "").partition("://")
    if kind == "docker":
        return "its runtime is Docker, which Kubernetes dropped with 1.24; change the node to containerd"
    if kind == "containerd" and _numbers(version) < _OLDEST_CONTAINERD:
        return f"containerd {version} knows no CDI, by which devices come; upgrade it to 1.7 or newer"
    kubelet = str(said.get("kubeletVersion") or "")
    if kubelet and _numbers(kubelet) < _OLDEST:
        return f"kubelet {kubelet} is older than Modelyard needs; upgrade the node to 1.31 or newer"
    return ""


def _driver(seen: Seen) -> Check:
    told, wrong = [], []
    for node in seen.carded:
        said = labels(node)
        full = said.get("nvidia.com/cuda.driver-version.full") or said.get("nvidia.com/cuda.driver.major", "")
        if full:
            told.append(
                f"{name(node)}: driver {full}, CUDA {said.get('nvidia.com/cuda.runtime-version.full', '?')}"
            )
            if _numbers(full) < (DRIVER_FOR_IMAGE, 0):
                wrong.append(f"{name(node)}: driver {full}")
    if wrong:
        remedy = f"install {DRIVER_FOR_IMAGE} or newer, or serve with an image of an older CUDA"
        return _check(
            "driver", False, f"{'; '.join(wrong)} is too old for CUDA 13 of `serving-cuda`; {remedy}"
        )
    failing = [each for each in _named(seen.daemons, _DRIVER) if not is_well(each)]
    if failing:
        return _check("driver", False, f"{_ready(failing)}; see {_logs(failing[0])}")
    remedy = f"no node tells its driver's version; see `nvidia-smi` there, or {fixes.stack(seen.nodes)}"
    return _check("driver", bool(told), "; ".join(sorted(told)) or remedy)


def _toolkit(seen: Seen) -> Check:
    """What lays the driver into containers; where it was installed by hand, only a Job can tell."""
    found = _named(seen.daemons, _TOOLKIT)
    failing = [each for each in found if not is_well(each)]
    if failing:
        return _check("container toolkit", False, f"{_ready(failing)}; see {_logs(failing[0])}")
    if found:
        return _check("container toolkit", True, _ready(found))
    return _check(
        "container toolkit", True, "not installed by an operator; whether nodes have it, the smoke Job tells"
    )


def _runtime_class(seen: Seen) -> Check:
    there = seen.found.gpus.runtime_class
    return _check("runtime class", True, there or "none: the nodes' default runtime must be NVIDIA's")


def _plugin(seen: Seen) -> Check:
    found = plugins(seen.daemons)
    if not found:
        return _check("device plugin", False, f"there is none; {fixes.stack(seen.nodes)}")
    operator = next((place(each)[0] for each in _named(seen.daemons, _OPERATOR)), "")
    whose = f", by the GPU Operator in {operator}" if operator else ""
    lacking = [name(node) for node in seen.carded if not seen.gives(node)]
    if all(map(is_well, found)) and not lacking:
        return _check("device plugin", True, f"{_ready(found)}{whose}, registered with the kubelet")
    written = [f"it wrote last: {seen.logs[place(each)]}" for each in found if seen.logs.get(place(each))]
    words = "; ".join([f"{_ready(found)}{whose}", *written, _SOCKETS, f"see {_logs(found[-1])}"])
    return _check("device plugin", all(map(is_well, found)) and not lacking, words)


def _labels(seen: Seen) -> Check:
    without = [
        name(node)
        for node in seen.carded
        if not labels(node).get("nvidia.com/gpu.product")
        and not seen.claimed(node)
        and named_by_hand(labels(node)) is None
    ]
    facts = seen.found.gpus
    by_hand = {f"{value} ({key})" for key, value in facts.types}
    products = ", ".join(sorted(facts.products | {each.product for each in facts.devices} | by_hand))
    if products and not without:
        return _check("labels", True, products)
    where = ", ".join(without) or "no node"
    lacks = f"without the label nvidia.com/gpu.product, by which types are chosen: {where}"
    if not products and not without:
        lacks = "no node has the label nvidia.com/gpu.product, by which types are chosen"
    return _check("labels", False, f"{lacks}; {fixes.stack(seen.nodes)}")


def _allocatable(seen: Seen) -> Check:
    told = [f"{name(node)}: {words}" for node in seen.nodes if (words := seen.gives(node))]
    lacking = [name(node) for node in seen.carded if not seen.gives(node)]
    if told and not lacking:
        return _check("allocatable", True, "; ".join(told))
    where = ", ".join(lacking) or "no node"
    lacks = f"nothing for pods on {where}" if lacking else "no node gives out GPUs"
    reason = "the device plugin has not registered with the kubelet there"
    return _check("allocatable", False, "; ".join([*told, f"{lacks}: {reason}", fixes.stack(seen.nodes)]))


def _check(what: str, ok: bool, message: str) -> Check:
    return Check(name=what, ok=ok, message=message)


def _named(daemons: Sequence[Manifest], pattern: re.Pattern[str]) -> tuple[Manifest, ...]:
    return tuple(each for each in daemons if pattern.search(name(each)))


def _counts(daemon: Manifest) -> tuple[int, int]:
    status: Mapping[str, Any] = daemon.get("status") or {}
    return int(status.get("numberReady", 0)), int(status.get("desiredNumberScheduled", 0))


def _ready(daemons: Sequence[Manifest]) -> str:
    told = []
    for each in daemons:
        ready, wanted = _counts(each)
        where = f"{ready} of {wanted} ready" if wanted else "wanted on no node: its node selector fits none"
        told.append(f"{place(each)[0] or 'default'}/{name(each)}: {where}")
    return ", ".join(told)


def _logs(daemon: Manifest) -> str:
    return f"`kubectl logs -n {place(daemon)[0] or 'default'} daemonset/{name(daemon)}`"


def _numbers(version: str) -> tuple[int, int]:
    found = re.match(r"v?(\d+)(?:\.(\d+))?", version)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
