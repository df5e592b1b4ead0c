"""What is to be rendered: a launch, and what an installation adds to all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelyard.backends.base import Launch
from modelyard.backends.kubernetes import names
from modelyard.domain.model import File


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What containers are made of."""

    serving: str = "modelyard/serving:latest"
    """Modelyard's own server with the libraries of the default runtime."""
    fetch: str = "modelyard/serving:latest"
    """Has `python -m modelyard_fetch`."""
    pull_policy: str = "IfNotPresent"
    pull_secret: str = ""
    """Secret of every project's namespace with the registry's credentials; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """A claim of each project in which its pods share what they fetch."""

    size: int
    """In bytes."""
    storage_class: str = ""
    """Empty is the cluster's default."""
    access: str = "ReadWriteMany"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an installation adds to every object."""

    namespace_prefix: str = "modelyard"
    system_namespace: str = "modelyard-system"
    images: Images = field(default_factory=Images)
    artifact_url: str = "http://modelyard.modelyard-system:8080/api/v1/artifacts"
    """Where pods get files from, by their sha256."""
    index_url: str = ""
    """Where pods get packages from; may hold a password. Empty means the public index."""
    prometheus_url: str = ""
    """Where the cluster's KEDA asks for what the platform measures; empty when nobody keeps it there."""
    cache: Cache | None = None
    """What pods share files in; None has each fetch its own."""
    max_body_bytes: int = 64 << 20
    drain_wait_seconds: int = 10
    """How long a pod that is to go still answers, until everybody knows that nothing is to be sent to it."""
    platform_sha256: str = ""
    """Of the token that the platform shows to replicas."""
    cluster_queue: str = ""
    """Of Kueue, where the cluster has it: tasks wait there; empty has them wait in the platform."""
    network_policies: bool = True
    """Whether pods that try models are closed in, and projects isolated that ask for it."""
    platform_inside: bool = True
    """Whether the platform is pods of its own namespace, which policies can name."""
    platform_cidrs: tuple[str, ...] = ()
    """From where it asks its replicas beside that."""
    area: str = "kubernetes"
    """Value of KUBEFLOW_AREA."""

    def namespace(self, project: str) -> str:
        """Where a project's objects live."""
        return names.namespace(project, prefix=self.namespace_prefix, system=self.system_namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """One revision as it is to run."""

    launch: Launch
    settings: Settings
    tokens: Mapping[str, str] = field(default_factory=dict)
    """What opens each of the artifact's files at `artifact_url`, by sha256."""

    lock: str = ""
    """Packages of the runtime with their hashes, when the image does not have them."""

    wheels: tuple[File, ...] | None = None
    """What the platform lends of those packages; None has the pod ask an index."""

    @property
    def image(self) -> str:
        """What its server is made of: what the user or the runtime says, or the platform's own."""
        server = self.launch.program
        return (server.image if server else "") or self.launch.guest.image or self.settings.images.serving

    @property
    def namespace(self) -> str:
        """Where its objects live."""
        return self.settings.namespace(self.launch.key.project)

    @property
    def name(self) -> str:
        """What its Deployment and Service are called."""
        return names.revision_name(self.launch.key, self.launch.revision)

    @property
    def labels(self) -> dict[str, str]:
        """What its objects carry."""
        return names.labels(self.launch.key, self.launch.revision)
