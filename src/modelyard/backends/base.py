"""The contract that every backend keeps; `tests/backends/contract.py` checks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from modelyard.domain.autoscaling import Autoscaling
from modelyard.domain.deployment import DeploymentSpec, Failure, Key, Replica
from modelyard.domain.gpu import GpuRequest
from modelyard.domain.model import Artifact
from modelyard.domain.model_files import ModelFiles
from modelyard.domain.mounts import Mount
from modelyard.domain.network import Network
from modelyard.domain.node import Node, NodeClass
from modelyard.domain.program import Program
from modelyard.domain.quota import Quota
from modelyard.domain.runtime import Runtime, RuntimeSpec, RuntimeStatus
from modelyard.domain.secret import SecretValues
from modelyard.domain.tallies import Sample
from modelyard.domain.variant import Optimize, Variant

ISOLATION = "isolation of projects"
"""What `enforcement` calls who is kept away from services past the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A model and the environment to load it in."""

    artifact: Artifact
    path: Path
    """Directory that holds the artifact's files."""
    interpreter: str
    """Python program of the runtime."""
    runtime: str
    env: Mapping[str, str] = field(default_factory=dict)
    variant: Variant = Variant.ORIGINAL
    """What answers: the model itself, or the artifact's compiled variant."""
    variant_path: Path | None = None
    """Directory that holds the variant's file."""
    known_bytes: int = 0
    """Memory that a worker with it was seen to need; 0 for unknown."""
    location: ModelFiles | None = None
    """The volume that has the artifact's files, instead of `path`; they are compared before they are used."""
    image: str = ""
    """Image of the runtime, where replicas are containers; empty is the platform's own."""
    inline: bool = False
    """Whether the serving process itself may compute the variant, having what that takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything a backend must know to start one replica.

    In the stage `debug` the server is not started: the replica sleeps, and is ready for whoever comes in.
    """

    key: Key
    replica: str
    revision: int
    model: str
    version: str
    spec: DeploymentSpec
    guest: Guest
    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: tuple[int, ...] = ()
    program: Program | None = None
    """The server to run; None is Modelyard's own."""
    creator: str = ""
    """Who made the revision."""
    secrets: Mapping[str, SecretValues] = field(default_factory=dict, repr=False)
    """What it may read of the project's secrets, by their names; any other is not the project's."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """The size of the window that a shell is seen in."""

    rows: int = 24
    columns: int = 80


@dataclass(frozen=True, slots=True)
class Output:
    """Some bytes that a command wrote."""

    stream: str
    """`stdout` or `stderr`; a terminal has only the first."""
    data: bytes


class Shell(Protocol):
    """A command that runs inside a replica's environment, and its ends of the lines."""

    async def read(self) -> Output | None:
        """What it wrote next; None when it has ended and everything was read."""

    async def write(self, data: bytes) -> None:
        """Give it input; no bytes at all are the end of its input."""

    async def resize(self, terminal: Terminal) -> None:
        """Its window has another size now; nothing for one without a terminal."""

    async def wait(self) -> int:
        """Its exit code; negative is a signal."""

    async def close(self) -> None:
        """End it if it still runs. Idempotent."""


class TaskKind:
    """What a one-off guest process is asked."""

    INSPECT = "inspect"
    """Load the model, say what it is, answer the sample if there is one."""
    TEST = "test"
    """Load the model and answer one request."""
    SURVEY = "survey"
    """Load nothing: say which files are at the guest's location, and what model they are."""


def _unheard(why: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question to a guest that runs in a fresh process and is gone afterwards."""

    kind: str
    guest: Guest
    request: Mapping[str, Any] = field(default_factory=dict)
    """For a test: `{"inputs": {name: nested lists}}` or `{"rows": …}`; see `formats.survey` for its own."""
    timeout_seconds: float = 120.0
    memory_bytes: int = 0
    gpus: tuple[int, ...] = ()
    wanted: GpuRequest = field(default_factory=GpuRequest)
    """What it asks of GPUs; `gpus` are the cards that were found for it, where somebody looked."""
    optimize: Optimize = Optimize.OFF
    """For an inspection: compile a variant too."""
    out: Path | None = None
    """Directory that gets the variant's file."""
    patience_seconds: float = 300.0
    """How long it waits to begin where the backend decides when; then it fails as `Queued`."""
    told: Callable[[str], None] = _unheard
    """Hears why it has to wait where the backend decides when tasks begin; of nothing once it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a task."""

    result: Mapping[str, Any] | None
    """None when it failed."""
    failure: Failure | None = None
    """Why; beside a result, what ended the guest while it compiled after its inspection."""
    stdout: str = ""
    stderr: str = ""
    device: str = ""
    """Such as `ONNX Runtime device: CPU`."""
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """By what, and within which bounds, somebody else than the platform may decide the number of replicas."""

    key: Key
    revision: int
    least: int
    most: int
    scaling: Autoscaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What somebody else decided."""

    replicas: int
    message: str
    """By what, such as `HPA: cpu 80% of 50%`."""
    limited: bool = False
    """Whether it would have more than the rule's bounds let it."""
    unsure: bool = False
    """Whether the number only stays as it was, because the load cannot be measured."""


@dataclass(frozen=True, slots=True)
class Unable:
    """Nobody but the platform can decide it here."""

    message: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line a replica wrote."""

    replica: str
    text: str


@dataclass(frozen=True, slots=True)
class Outage:
    """What runs the replicas does not answer, which says nothing about them: most likely they go on."""

    since: float
    """Seconds since the epoch."""
    message: str


class Backend(Protocol):
    """Somewhere that replicas can run."""

    def outage(self) -> Outage | None:
        """Why nothing new is known of replicas; None while they can be observed.

        Meanwhile `observe` and `keys` tell what was seen last, and nothing may be concluded from that.
        """

    async def nodes(self) -> tuple[Node, ...]:
        """The machines there are, with their capacity."""

    async def classify(self, node: str, classes: frozenset[NodeClass]) -> None:
        """Say what a node may be used for. Raises NotFound; Conflict where there is but one machine."""

    def enforcement(self) -> dict[str, str]:
        """Limits by name and how each is enforced; what cannot be enforced here says `not enforced`."""

    def refuses_gpus(self, wanted: GpuRequest) -> str:
        """Why a request for GPUs can never be served here, and what it would need; empty when it can."""

    async def settle(self, project: str, quota: Quota, network: Network) -> None:
        """Bring into line what is kept of a project beside its replicas, also of one that is no more.

        The platform keeps quotas by itself; a backend that others use too may add a fence against those, and
        keeps whoever is not let in away from the pods of an isolated project.
        """

    def gives_gpus(self, wanted: GpuRequest) -> str:
        """How a part of a card is given out here, and whether it is kept apart; empty for whole cards."""

    def refuses_model_files(self, wanted: ModelFiles) -> str:
        """Why pods cannot find a model's files there, and what to do; empty when they can."""

    def refuses_mount(self, wanted: Mount) -> str:
        """Why replicas cannot have something laid there, and what to do; empty when they can."""

    def refuses_images(self) -> str:
        """Why a runtime cannot be an image there, and what to do; empty when it can."""

    async def observe(self, key: Key) -> tuple[Replica, ...]:
        """What runs now. Asks the outside world; never a cache of intentions."""

    async def scaled(self, key: Key, rule: Rule | None) -> Called | Unable:
        """Have somebody else decide how many replicas there are, and say what was decided; None: nobody.

        Level-triggered: asked again with the same rule it only looks. Raises ModelyardError when that fails.
        """

    async def samples(self) -> tuple[Sample, ...]:
        """What every running replica uses at this moment, as far as it can be known."""

    async def keys(self) -> frozenset[Key]:
        """Every deployment that something runs for, wanted or not: how orphans are found."""

    async def start(self, launch: Launch) -> None:
        """Begin a replica and return. Starting one that exists is nothing."""

    async def drain(self, key: Key, replica: str) -> None:
        """Mark a replica as leaving: it goes on answering, and observes as draining."""

    async def stop(self, key: Key, replica: str) -> None:
        """Tell a replica to finish what it has and exit. Idempotent."""

    async def kill(self, key: Key, replica: str) -> None:
        """End a replica at once and remove what is left of it, also when it is dead already."""

    async def ask(self, key: Key, replica: str, path: str) -> bytes:
        """What a replica's front answers to a GET of this path; raises BackendError when it does not."""

    def admits_tasks(self) -> str:
        """Whose queue decides here when a task begins; empty when the platform's own does."""

    async def run(self, task: Task) -> Answer:
        """Ask a guest in a process of its own, which is gone when this returns."""

    async def exec(
        self, key: Key, replica: str, command: Sequence[str], *, terminal: Terminal | None = None
    ) -> Shell:
        """Run a command in a replica's environment and directory; without words, a shell.

        Raises NotFound for a replica that is not there, Invalid for a program that is not.
        """

    def logs(
        self, key: Key, *, replica: str = "", tail: int = 100, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        """Lines of all replicas or one, oldest first; `follow` goes on with what comes."""

    async def close(self) -> None:
        """Let go of resources of this process; replicas go on."""


class Environments(Protocol):
    """Where runtimes are built and kept."""

    async def host(self) -> RuntimeStatus:
        """The interpreter that Modelyard runs in, with its packages."""

    async def observe(self, runtime: Runtime) -> RuntimeStatus:
        """How far a runtime is, from what is on disk and which builds run."""

    async def build(self, runtime: Runtime) -> None:
        """Begin to build a runtime and return. Idempotent while a build runs."""

    async def remove(self, runtime: Runtime, *, others: Sequence[RuntimeSpec] = ()) -> None:
        """Forget a runtime; its environment goes unless another shares the lock."""
