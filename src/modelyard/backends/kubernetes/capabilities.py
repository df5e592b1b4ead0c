"""What a cluster can do, as far as it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field

SHARED = "nvidia.com/gpu.shared"
"""What the device plugin calls a part of a GPU that is divided by time or by MPS and renamed."""
MIG = "nvidia.com/mig-"
"""What names of MIG profiles begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A hardware partition of a card, as nodes give it out."""

    product: str
    """The card's `nvidia.com/gpu.product`."""
    profile: str
    """As resources are named after it: `1g.10gb`."""
    memory_mib: int
    memory_percent: float
    """Of the card's memory."""
    cores_percent: float
    """Of its computing slices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A card that a driver offers to claims (dynamic resource allocation)."""

    node: str
    name: str
    """Within its node, such as `gpu-0`."""
    product: str
    """As the driver calls it: `Tesla T4`."""
    memory_mib: int
    divisible: bool = False
    """Whether several claims may have it at a time, each a part of its memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """What the cluster's nodes and schedulers offer of GPUs."""

    resources: frozenset[str] = field(default_factory=frozenset)
    """Names of what nodes give: `nvidia.com/gpu`, `nvidia.com/mig-1g.10gb`, `volcano.sh/vgpu-number`."""
    products: frozenset[str] = field(default_factory=frozenset)
    """Values of the label `nvidia.com/gpu.product`: `Tesla-T4`."""
    types: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    """Labels with values by which people say what cards are, of nodes without a product."""
    hami: bool = False
    """Whether HAMi's scheduler and device plugin serve `nvidia.com/gpu`."""
    kai: bool = False
    """Whether the KAI scheduler is there, with the sharing of GPUs on."""
    parts: int = 0
    """Into how many parts shared GPUs are divided; 0 when none is."""
    sharing: str = ""
    """How: `time-slicing` or `mps`."""
    partitions: frozenset[Partition] = field(default_factory=frozenset)
    """MIG partitions of cards whose size is known."""
    device_classes: frozenset[str] = field(default_factory=frozenset)
    """DeviceClasses of dynamic resource allocation: `gpu.nvidia.com`."""
    extended: bool = False
    """Whether the class says that `nvidia.com/gpu` is a claim of it, which the scheduler then makes."""
    devices: tuple[Device, ...] = ()
    """Cards that are claimed, as their driver offers them."""
    runtime_class: str = ""
    """RuntimeClass that containers with GPUs need; empty when the default does."""
    cdi: bool = False
    """Whether devices come by CDI, where `void` hides them; else `none` does."""

    @property
    def claims(self) -> bool:
        """Whether cards can be claimed: somebody made the class that claims name."""
        return "gpu.nvidia.com" in self.device_classes

    @property
    def profiles(self) -> tuple[str, ...]:
        """MIG profiles, such as `1g.10gb`."""
        return tuple(sorted(each.removeprefix(MIG) for each in self.resources if each.startswith(MIG)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Facts about one cluster; what is not known is taken not to be there."""

    version: tuple[int, int] = (1, 31)
    resources: frozenset[str] = field(default_factory=frozenset)
    """What is served, as `group/version/plural`."""
    gateway_class: str = ""
    """The GatewayClass that routes are made for; empty when there is none."""
    gateway_features: frozenset[str] = field(default_factory=frozenset)
    """What that class says it supports."""
    gpus: Gpus = field(default_factory=Gpus)
    takes_images: bool | None = None
    """Whether a pod with an image volume was accepted (dry run); None when that was not asked."""
    unknown: tuple[tuple[str, str], ...] = ()
    """What could not be found out, and why."""

    @property
    def sleeps_before_stop(self) -> bool:
        """Whether `preStop` may sleep without a program for it (on by default since 1.30)."""
        return self.version >= (1, 30)

    @property
    def mounts_images(self) -> bool:
        """Whether an image can be a volume (stable since 1.36), of restricted pods too (since 1.33)."""
        taken = self.version >= (1, 36) if self.takes_images is None else self.takes_images
        return taken and self.version >= (1, 33)

    @property
    def has_keda(self) -> bool:
        """Whether KEDA scales."""
        return self.serves("keda.sh/v1alpha1/scaledobjects")

    @property
    def has_kueue(self) -> bool:
        """Whether Kueue admits jobs."""
        return self.serves("kueue.x-k8s.io/v1beta2/clusterqueues")

    @property
    def has_metrics(self) -> bool:
        """Whether the use of cores and memory can be asked for."""
        return self.serves("metrics.k8s.io/v1beta1/pods")

    @property
    def has_dra(self) -> bool:
        """Whether devices are claimed (dynamic resource allocation, stable since 1.34)."""
        return self.serves("resource.k8s.io/v1/deviceclasses")

    @property
    def has_gateway(self) -> bool:
        """Whether routes of the Gateway API are served."""
        return self.serves("gateway.networking.k8s.io/v1/httproutes")

    def serves(self, resource: str) -> bool:
        """Whether a resource such as `keda.sh/v1alpha1/scaledobjects` is served."""
        return resource in self.resources
