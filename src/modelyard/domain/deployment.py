"""What a deployment is: desired state, numbered revisions, observed replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from modelyard.domain import autoscaling, model_files, naming, quantity, texts, wire
from modelyard.domain import gpu as cards
from modelyard.domain import health as probes
from modelyard.domain import mounts as mounting
from modelyard.domain import server as servers
from modelyard.domain.address import Address
from modelyard.domain.autoscaling import Autoscaling, ScalingStatus
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.health import Health
from modelyard.domain.limits import Limits
from modelyard.domain.mounts import Mount
from modelyard.domain.priority import Priority
from modelyard.domain.rollout_status import Order, RolloutStatus
from modelyard.domain.runtime import AUTO
from modelyard.domain.server import Server, ServerKind
from modelyard.domain.strategy import Strategy
from modelyard.domain.variant import Serve

BATCH = ("auto", "on", "off")
WARMUP = ("sample", "zero", "random", "none")


class Stage(StrEnum):
    """Which of a deployment's three lives this is; part of its identity."""

    PRODUCTION = "production"
    TEST = "test"
    DEBUG = "debug"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Identity of a deployment."""

    project: str
    name: str
    stage: Stage = Stage.PRODUCTION

    def __str__(self) -> str:
        return f"{self.project}/{self.service}"

    @property
    def service(self) -> str:
        """The name within the project: `churn`, `churn@test`."""
        return self.name if self.stage is Stage.PRODUCTION else f"{self.name}@{self.stage.value}"

    @property
    def label(self) -> str:
        """The name where it must be plain letters, with the stage in front: `churn`, `test-churn`."""
        return self.name if self.stage is Stage.PRODUCTION else f"{self.stage.value}-{self.name}"

    @classmethod
    def parse(cls, text: str, *, project: str = "default", path: str = "service") -> Key:
        """Read `[PROJECT/]NAME[@STAGE]`; `project` is for a text without one; Invalid names `path`."""
        before, slash, rest = text.rpartition("/")
        name, _, stage = rest.partition("@")
        naming.require_name(before if slash else project, path)
        naming.require_name(name, path)
        if "@" in rest and stage not in tuple(Stage):
            message = f"{stage[:40]!a} is not a stage; write one of {', '.join(Stage)} after the `@`"
            raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
        return cls(before if slash else project, name, Stage(stage or Stage.PRODUCTION))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one replica asks for; requests and limits are the same."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    cpu: str = "0"
    """Cores as a decimal, `0.5` or `500m`; 0 reserves nothing."""
    memory: str = "0"
    """Bytes such as `512Mi` or `1Gi`; 0 reserves nothing and sets no limit."""
    gpu: str = "0"
    """GPUs: `1`, a type of card `1(T4)`; on a cluster parts too: `0.2(T4)`, `mem=4Gi`, `mig=1g.10gb`."""

    def __post_init__(self) -> None:
        quantity.parse_cpu(self.cpu, "resources.cpu")
        quantity.parse_memory(self.memory, "resources.memory")
        cards.parse(self.gpu, "spec.resources.gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """The desired state: written by users, never by reconcilers."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    model: str = ""
    """The version to serve, `name@3`; `name`, `name@latest` and `name@alias` are pinned when applied.

    Only a server of kind `serving` can do without one.
    """
    artifact: str = ""
    """Which of a version's several models to serve; empty when it has one."""
    model_files: str = ""
    """Where replicas find the version's files, on a cluster; empty has the platform bring them.

    `pvc://CLAIM/FOLDER` is mounted from a PersistentVolumeClaim of the project's namespace, and
    `oci://REGISTRY/IMAGE@sha256:DIGEST#FOLDER` from an image; each start compares them with the version.
    """
    runtime: str = AUTO
    """Name of a runtime, `host`, or `auto`."""
    variant: Serve = Serve.AUTO
    """`auto` serves the version's compiled variant where it has one; `original` never does."""
    replicas: int = 1
    """How many replicas to keep ready. Zero means offline."""
    resources: Resources = field(default_factory=Resources)
    env: dict[str, str] = field(default_factory=dict)
    """Environment of the model's process."""
    config_files: dict[str, str] = field(default_factory=dict)
    """File name to text; readable below `MODELYARD_CONFIG_DIR`."""
    config: str = ""
    """More configuration files as one text, each after a line `---name`."""
    server: Server = field(default_factory=Server)
    """What serves: Modelyard's own server unless it says otherwise."""
    health: Health = field(default_factory=Health)
    """Who gets requests and who is started again; empty is what is usual for the server."""
    mounts: tuple[Mount, ...] = ()
    """What is laid into a replica from outside."""
    metrics: str = ""
    """`PORT:/path` of the server's own metrics; empty is what is usual for the server.

    Beside Modelyard's own server it is what the model's own code offers there.
    """
    max_surge: int = 1
    """How many replicas above `replicas` a rollout may start."""
    start_timeout_seconds: float = 120.0
    """How long a replica may load before it counts as hung."""
    request_timeout_seconds: float = 60.0
    """Deadline of a request that brings none of its own."""
    drain_seconds: float = 30.0
    """How long a leaving replica may finish what it has begun."""
    public: bool = False
    """Answer whoever reaches the front door, without a token."""
    queue_size: int = 64
    """Requests that may wait for the model before the next is turned away with 503."""
    workers: int = 1
    """Processes of the model in each replica; they share its cores and its memory evenly."""
    batch: str = "auto"
    """Whether waiting requests may share a call to the model: `auto` where it pays, `on`, or `off`."""
    batch_max_rows: int = 64
    """Rows of one such call."""
    batch_max_delay_ms: float = 0.0
    """How long a request may be held back for company while every worker is busy."""
    latency_slo_ms: float = 0.0
    """The time that a request may take; shared calls are kept small enough for it. 0 is no bound."""
    cache: str = "0"
    """Bytes such as `64Mi` of answers that each replica keeps for equal requests; 0 keeps none."""
    retry: bool = True
    """Give a request whose worker died to another one, once."""
    warmup: str = "sample"
    """What a loaded model answers before it counts as ready: its `sample`, `zero`, `random`, or `none`."""
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    """How many replicas there are by load and clock; counts only in production."""
    priority: Priority = field(default_factory=Priority)
    """Who gives and who gets replicas when capacity runs out."""
    limits: Limits = field(default_factory=Limits)
    """What the gateway enforces: request rate, concurrency, circuit breaking, retries."""
    address: Address = field(default_factory=Address)
    """Where it answers beside its path: a host of its own, ports of its own."""
    strategy: Strategy = field(default_factory=Strategy)
    """How a new revision takes over from the one that serves."""

    def __post_init__(self) -> None:
        wrong = [
            FieldError(f"spec.{name}", f"must be {rule}, got {value}")
            for name, value, rule, ok in (
                ("replicas", self.replicas, "between 0 and 1000", 0 <= self.replicas <= 1000),
                ("max_surge", self.max_surge, "between 1 and 100", 1 <= self.max_surge <= 100),
                ("workers", self.workers, "between 1 and 64", 1 <= self.workers <= 64),
                ("batch", self.batch, f"one of {', '.join(BATCH)}", self.batch in BATCH),
                (
                    "batch_max_rows",
                    self.batch_max_rows,
                    "between 1 and 65536",
                    1 <= self.batch_max_rows <= 65_536,
                ),
                ("warmup", self.warmup, f"one of {', '.join(WARMUP)}", self.warmup in WARMUP),
                *(
                    (name, value, "between 0 and 60000 milliseconds", 0 <= value <= 60_000)
                    for name, value in (
                        ("batch_max_delay_ms", self.batch_max_delay_ms),
                        ("latency_slo_ms", self.latency_slo_ms),
                    )
                ),
                ("queue_size", self.queue_size, "between 1 and 100000", 1 <= self.queue_size <= 100_000),
                *(
                    (name, value, f"between {low} and 86400 seconds", low <= value <= 86_400)
                    for name, value, low in (
                        ("start_timeout_seconds", self.start_timeout_seconds, 1),
                        ("request_timeout_seconds", self.request_timeout_seconds, 0.01),
                        ("drain_seconds", self.drain_seconds, 0),
                    )
                ),
            )
            if not ok
        ]
        quantity.parse_memory(self.cache, "spec.cache")
        wrong += self.limits.wrong("spec.limits")
        wrong += naming.env_errors(self.env, "spec.env")
        wrong += _process_errors(self)
        if wrong:
            raise Invalid("; ".join(f"{e.path}: {e.message}" for e in wrong), errors=wrong)
        autoscaling.require_measurable(
            self.autoscaling,
            cpu_millis=quantity.parse_cpu(self.resources.cpu, "resources.cpu"),
            memory_bytes=quantity.parse_memory(self.resources.memory, "resources.memory"),
            gpus=cards.parse(self.resources.gpu, "spec.resources.gpu").count,
        )


def _process_errors(spec: DeploymentSpec) -> list[FieldError]:
    """What is wrong with what a replica is made of beside its model."""
    wrong = naming.file_name_errors(spec.config_files, "spec.config_files")
    wrong += naming.file_name_errors(texts.split_files(spec.config, "spec.config"), "spec.config")
    wrong += servers.errors(spec.server, "spec.server")
    wrong += servers.metrics_errors(spec.metrics, "spec.metrics")
    wrong += probes.errors(spec.health, "spec.health")
    wrong += mounting.errors(spec.mounts, "spec.mounts")
    wrong += model_files.errors(spec.model_files, "spec.model_files")
    if spec.model_files and not spec.model:
        remedy = "names the files of a version; name it in `spec.model`, or leave this empty"
        wrong.append(FieldError("spec.model_files", remedy))
    if not spec.model and spec.server.kind is not ServerKind.SERVING:
        remedy = "is missing; name a version such as `churn@latest`, or set `server.kind` to `serving`"
        wrong.append(FieldError("spec.model", remedy))
    return wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """An immutable snapshot of what a deployment runs or ran."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    name: str
    stage: Stage
    number: int
    spec: DeploymentSpec
    """With the model pinned to a version number and the runtime resolved to a name."""
    reason: str
    """Why it was made: `deploy`, `restart`, `rollback to 2`."""
    created_at: datetime
    created_by: str


class Phase(StrEnum):
    """What one replica is doing."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    """It was ready and is not now: its worker died, hangs or is being restarted."""
    DRAINING = "draining"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something failed; `reason` is one of `explain.CATALOGUE`."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One observed replica: what a backend saw, not what anyone wished."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    name: str
    revision: int
    phase: Phase
    address: str = ""
    """Where the gateway reaches it: `unix:/path` or `ip:port`."""
    second_address: str = ""
    """Where its second port is reached; empty where the second answers like the first."""
    metrics_address: str = ""
    """Where its own metrics are, as `http://ip:port/path`; empty when its server has none of its own."""
    pid: int = 0
    started_at: float = 0.0
    """Seconds since the epoch, as all times of a replica."""
    draining_since: float = 0.0
    stopping_since: float = 0.0
    phase_since: float = 0.0
    """When the platform first saw it in this phase; `rollout.remember` fills it."""
    node: str = ""
    """Where it runs; empty where there is but one node."""
    failure: Failure | None = None
    """Why it is not ready; of a ready one, why its worker was restarted last."""
    worker_restarts: int = 0
    memory_bytes: int = 0
    loaded_bytes: int = 0
    """Of one worker that had just loaded the model."""
    peak_bytes: int = 0
    """The most that one worker was seen to use."""
    gpus: tuple[int, ...] = ()
    cpu_millis: int = 0
    """Reserved, as `memory_reserved`; what the accounting holds for it."""
    memory_reserved: int = 0
    variant: str = ""
    """What answers in it: `original`, `onnx` or `treelite`; empty until it says so."""
    inline: bool = False
    """Whether the variant runs inside the serving process, without a worker."""
    waits: bool = False
    """Whether it waits for a place or for what it is made of: the time to start does not run yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One statement about a resource, with a stable CamelCase reason."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    type: str
    ok: bool | None
    reason: str
    message: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashes:
    """How often replicas of a revision failed, so that back-off survives a restart."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    revision: int = 0
    count: int = 0
    last_at: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    """What reconcilers found and did."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    replicas: tuple[Replica, ...] = ()
    ready_replicas: int = 0
    good_revision: int = 0
    """The newest revision that was wholly ready; the one to fall back to."""
    failed_revision: int = 0
    """A revision that never became ready; the good one serves until the next change."""
    progress_since: float = 0.0
    """When the rollout of the wanted revision began to make no progress."""
    crashes: Crashes = field(default_factory=Crashes)
    """Of the wanted revision."""
    good_crashes: Crashes = field(default_factory=Crashes)
    """Of the good revision, while it serves in place of the wanted one."""
    failed: Failure | None = None
    """Why `failed_revision` failed."""
    rollout: RolloutStatus | None = None
    """The last rollout that was judged step by step; None where replicas are just replaced."""
    warnings: tuple[str, ...] = ()
    scaling: ScalingStatus = field(default_factory=ScalingStatus)
    """How many replicas load, clock and shortage leave of what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Since when a service wants its host, and what came of it; `takeover` decides by it."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    at: float = 0.0
    """When it went online with this host."""
    host: str = ""
    """As the spec said it then."""
    online: bool = False
    """Whether it wanted replicas then."""
    yielded_to: str = ""
    """`project/service` that took the host over; this one is offline until somebody starts it again."""
    lapsed: str = ""
    """Why it left the host to the one that had it: it failed before it was ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model version kept running as a service."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    project: str
    name: str
    stage: Stage = Stage.PRODUCTION
    id: int = 0
    """A small number that never changes and is never reused."""
    generation: int = 1
    """Grows with every edit of the spec."""
    revision: int = 1
    """Grows only when what runs changes; scaling keeps it."""
    spec: DeploymentSpec
    status: DeploymentStatus = field(default_factory=DeploymentStatus)
    token_serial: int = 1
    """Rotating the service's token raises it."""
    ports: tuple[int, ...] = ()
    """Ports of its own, given once and kept until it is deleted."""
    claim: Claim = field(default_factory=Claim)
    order: Order = field(default_factory=Order)
    """What users said about the rollout of a revision."""
    created_at: datetime
    created_by: str = ""
    deleting: bool = False

    @property
    def key(self) -> Key:
        """The deployment's identity."""
        return Key(self.project, self.name, self.stage)

    @property
    def wanted_revision(self) -> int:
        """The revision that should run: the newest, or the last good one after it failed."""
        fell_back = self.status.failed_revision == self.revision and self.status.good_revision
        return self.status.good_revision if fell_back else self.revision
