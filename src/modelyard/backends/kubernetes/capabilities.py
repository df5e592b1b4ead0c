"""What a cluster can do, as far as it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field


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

    @property
    def sleeps_before_stop(self) -> bool:
        """Whether `preStop` may sleep without a program for it (on by default since 1.30)."""
        return self.version >= (1, 30)

    @property
    def mounts_images(self) -> bool:
        """Whether an image can be a volume (stable since 1.36)."""
        return self.version >= (1, 36)

    def serves(self, resource: str) -> bool:
        """Whether a resource such as `keda.sh/v1alpha1/scaledobjects` is served."""
        return resource in self.resources
