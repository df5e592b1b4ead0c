"""Deployments that stand for the others: what is rendered of each is kept as a golden file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from modelyard.backends.base import Task, TaskKind
from modelyard.backends.delivery import Grant
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render import networks
from modelyard.backends.kubernetes.render.desired import Desired, Images, Settings
from modelyard.backends.kubernetes.render.revision import account, anchor, namespace, revision
from modelyard.backends.kubernetes.render.task import Errand, job, secret
from modelyard.domain import health
from modelyard.domain.deployment import DeploymentSpec, Key, Resources, Stage
from modelyard.domain.mounts import Mount, MountKind
from modelyard.domain.priority import Level, Priority
from modelyard.domain.program import Subject, program
from modelyard.domain.server import Server, ServerKind
from tests.backends import things

GOLDEN = Path(__file__).parent / "golden"
NEWEST = Capabilities(version=(1, 37))
SECRET = "correct horse battery staple"
"""In everybody's environment: it may stand in Secrets only."""
_PATH = Path("/somewhere")


def desired(spec: DeploymentSpec, *, key: Key = things.KEY, **changes: object) -> Desired:
    """What the control plane would ask for."""
    other = spec.server.kind is not ServerKind.MODELYARD
    cpu, memory, gpus = spec.resources.cpu, spec.resources.memory, int(spec.resources.gpu)
    launch = things.launch(
        "a",
        _PATH,
        key=key,
        spec=spec,
        program=program(spec, Subject(name="churn")) if other else None,
        cpu_millis=500 if cpu != "0" else 0,
        memory_bytes=1 << 30 if memory != "0" else 0,
        gpus=tuple(range(gpus)),
        creator="ada",
    )
    return replace(Desired(launch=launch, settings=Settings()), **changes)  # type: ignore[arg-type]


def objects(wanted: Desired, capabilities: Capabilities = NEWEST) -> tuple[Manifest, ...]:
    """Everything that is applied for a deployment that was not there."""
    belonging = revision(wanted, capabilities, anchor_uid="11111111-2222")
    return (namespace(wanted), account(wanted), anchor(wanted), *belonging)


def task(settings: Settings | None = None, *, lock: str = "") -> tuple[Manifest, ...]:
    """Everything that is applied to try a model."""
    chosen = settings or Settings()
    guest = things.guest(_PATH)
    errand = Errand(
        task=Task(kind=TaskKind.INSPECT, guest=guest, memory_bytes=1 << 30),
        name="task-inspect-0123456789",
        namespace="modelyard-default",
        project="default",
        marker="modelyard-outcome-0123456789",
        grant=Grant(base=chosen.artifact_url, files=guest.artifact.files),
        settings=chosen,
        lock=lock,
    )
    policy = (networks.policy("default", errand.namespace, chosen),) if networks.closes(chosen) else ()
    return (*policy, secret(errand), job(errand))


class _Plain(yaml.SafeDumper):
    """Writes what is there twice twice: anchors help nobody who reads."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def as_yaml(manifests: Sequence[Manifest]) -> str:
    """For people to read: what stands in files within files is not folded."""
    return yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False, width=10_000, allow_unicode=True)


OWN = DeploymentSpec(
    model="churn@3",
    env={"PASSWORD": SECRET, "HERE": "{{K8S_POD_IP}} $(NOT)"},
    config="---limits.conf\ncores={{RESOURCE_CPU}}\n",
    resources=Resources(cpu="0.5", memory="1Gi"),
    priority=Priority(level=Level.HIGH),
)
SERVING = DeploymentSpec(
    env={"PASSWORD": SECRET},
    server=Server(
        kind=ServerKind.SERVING,
        image="registry.example.org/team/answers:7",
        command="serve --port {{MODELYARD_PORT}}",
        working_directory="app",
        ports=(9000, 9001),
    ),
    health=health.parse("9000:/ok"),
    metrics="9001:/metrics",
    mounts=(
        Mount(kind=MountKind.MEMORY, path="/fast", size="1Gi"),
        Mount(kind=MountKind.SECRET, path="/keys", source="keys"),
    ),
)


def _other(kind: ServerKind, **changes: object) -> DeploymentSpec:
    return DeploymentSpec(model="churn@3", server=Server(kind=kind), env={"PASSWORD": SECRET}, **changes)  # type: ignore[arg-type]


_ONE_CARD = Resources(gpu="1", memory="1Gi")
_LOCK = "numpy==2.1.0 \\\n    --hash=sha256:aa\n"
_PULLED = Settings(images=Images(pull_secret="modelyard-registry"))
CASES: dict[str, Callable[[], tuple[Manifest, ...]]] = {
    "own-server": lambda: objects(desired(OWN)),
    "own-server-on-1.29": lambda: objects(desired(OWN), Capabilities(version=(1, 29))),
    "runtime-made-at-start": lambda: objects(desired(OWN, lock=_LOCK)),
    "stage-debug": lambda: objects(desired(OWN, key=Key("default", "churn", Stage.DEBUG))),
    "any-server": lambda: objects(desired(SERVING, settings=_PULLED)),
    "triton": lambda: objects(desired(_other(ServerKind.TRITON, resources=_ONE_CARD))),
    "tfserving": lambda: objects(desired(_other(ServerKind.TFSERVING))),
    "torchserve": lambda: objects(desired(_other(ServerKind.TORCHSERVE))),
    "vllm": lambda: objects(desired(_other(ServerKind.VLLM, resources=_ONE_CARD))),
    "task": task,
    "task-that-installs": lambda: task(lock=_LOCK),
}
KEPT = ("own-server", "any-server", "vllm", "stage-debug", "task")
"""Those that are golden files; the others are only judged."""
