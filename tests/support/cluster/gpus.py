"""Nodes with GPUs, with the labels of NVIDIA's feature discovery and the amounts of its device plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.cluster.control import add_node
from tests.support.cluster.store import Object
from tests.support.cluster.verbs import Cluster, Options


@dataclass(frozen=True, slots=True)
class Product:
    """One kind of GPU, as feature discovery describes it."""

    name: str
    family: str
    memory_mib: int
    compute: tuple[int, int]


PRODUCTS: Mapping[str, Product] = {
    "t4": Product("Tesla-T4", "turing", 15360, (7, 5)),
    "a100": Product("NVIDIA-A100-SXM4-40GB", "ampere", 40960, (8, 0)),
    "l4": Product("NVIDIA-L4", "ada-lovelace", 23034, (8, 9)),
    "h100": Product("NVIDIA-H100-80GB-HBM3", "hopper", 81559, (9, 0)),
}


def add_gpu_node(
    cluster: Cluster,
    name: str,
    product: str = "t4",
    *,
    count: int = 1,
    shared: int = 1,
    slices: Mapping[str, int] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **allocatable: str,
) -> Object:
    """A node with GPUs: `shared` is into how many each is divided by time, `slices` are MIG profiles."""
    kind, parts = PRODUCTS[product], dict(slices or {})
    found = {
        **_labels(kind, count),
        "nvidia.com/gpu.replicas": str(shared),
        "nvidia.com/gpu.sharing-strategy": "time-slicing" if shared > 1 else "none",
        "nvidia.com/mig.capable": str(kind.family in ("ampere", "hopper")).lower(),
        "nvidia.com/mig.strategy": "mixed" if parts else "single",
    }
    if shared > 1:
        found["nvidia.com/gpu.product"] = f"{kind.name}-SHARED"
    amounts = dict(allocatable)
    if not parts:
        amounts.setdefault("nvidia.com/gpu", str(count * shared))
    for profile, number in parts.items():
        found[f"nvidia.com/mig-{profile}.count"] = str(number)
        found[f"nvidia.com/mig-{profile}.product"] = f"{kind.name}-MIG-{profile}"
        found[f"nvidia.com/mig-{profile}.memory"] = str(round(float(profile.rpartition(".")[2][:-2]) * 1000))
        amounts[f"nvidia.com/mig-{profile}"] = str(number)
    return add_node(cluster, name, labels={**found, **(labels or {})}, annotations=annotations, **amounts)


def add_claimed_node(
    cluster: Cluster, name: str, product: str = "t4", *, count: int = 1, divisible: bool = False
) -> Object:
    """A node whose GPUs are claimed from NVIDIA's driver, and from no device plugin."""
    kind = PRODUCTS[product]
    manager = Options(manager="nvidia-dra-driver")
    if cluster.store.get(cluster.kind("DeviceClass"), ("", "gpu.nvidia.com")) is None:
        expression = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"
        spec = {"selectors": [{"cel": {"expression": expression}}]}
        cluster.create(
            cluster.kind("DeviceClass"), "", {"metadata": {"name": "gpu.nvidia.com"}, "spec": spec}, manager
        )
    words = {"type": "gpu", "productName": kind.name.replace("-", " ", 1), "uuid": f"GPU-{name}"}
    device = {
        "attributes": {key: {"string": value} for key, value in words.items()},
        "capacity": {"memory": {"value": f"{kind.memory_mib}Mi"}},
        **({"allowMultipleAllocations": True} if divisible else {}),
    }
    value = {
        "metadata": {"name": f"{name}-gpu.nvidia.com"},
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": name,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": f"gpu-{number}", **device} for number in range(count)],
        },
    }
    cluster.create(cluster.kind("ResourceSlice"), "", value, manager)
    return add_node(cluster, name)


def _labels(kind: Product, count: int) -> dict[str, str]:
    major, minor = kind.compute
    return {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": kind.name,
        "nvidia.com/gpu.family": kind.family,
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.memory": str(kind.memory_mib),
        "nvidia.com/gpu.compute.major": str(major),
        "nvidia.com/gpu.compute.minor": str(minor),
        "nvidia.com/cuda.driver-version.full": "580.95.05",
        "nvidia.com/cuda.driver-version.major": "580",
        "nvidia.com/cuda.runtime-version.full": "13.0",
        "nvidia.com/cuda.runtime-version.major": "13",
        "feature.node.kubernetes.io/pci-10de.present": "true",
    }
