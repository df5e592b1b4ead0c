"""Deployments that stand for the others: what is rendered of each is kept as a golden file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from modelyard.backends.base import Task, TaskKind
from modelyard.backends.delivery import Grant
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.gpus.wanted import gpus_for
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render import delivery, networks, queueing
from modelyard.backends.kubernetes.render.desired import Cache, Desired, Images, Settings
from modelyard.backends.kubernetes.render.revision import account, anchor, namespace, revision
from modelyard.backends.kubernetes.render.task import WHEELS, Errand, job, secret
from modelyard.domain import health, model_files
from modelyard.domain.deployment import DeploymentSpec, Key, Resources, Stage
from modelyard.domain.gpu import GpuRequest
from modelyard.domain.model import NO_MODEL, File
from modelyard.domain.mounts import Mount, MountKind
from modelyard.domain.network import Network
from modelyard.domain.priority import Level, Priority
from modelyard.domain.program import Subject, program
from modelyard.domain.secret import SecretValues
from modelyard.domain.server import Server, ServerKind
from modelyard.domain.variant import Variant
from modelyard.installing import writing
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


def task(
    settings: Settings | None = None,
    *,
    lock: str = "",
    wheels: tuple[File, ...] = (),
    source: str = "",
    kind: str = TaskKind.INSPECT,
    cluster_queue: str = "",
) -> tuple[Manifest, ...]:
    """Everything that is applied to try a model, or to look at a volume."""
    chosen = settings or Settings()
    location = model_files.parse(source)
    guest = replace(things.guest(_PATH), location=location)
    if kind == TaskKind.SURVEY:
        guest = replace(guest, artifact=NO_MODEL)
    fetched = () if location else guest.artifact.files
    lent = tuple(replace(each, path=f"{WHEELS}{each.path}") for each in wheels)
    errand = Errand(
        task=Task(kind=kind, guest=guest, memory_bytes=1 << 30),
        name="task-inspect-0123456789",
        namespace="modelyard-default",
        project="default",
        marker="modelyard-outcome-0123456789",
        grant=Grant(base=chosen.artifact_url, files=(*fetched, *lent)),
        settings=chosen,
        lock=lock,
        gpus=gpus_for(GpuRequest(), NEWEST),
        lends=bool(wheels),
        queue=queueing.name_of(cluster_queue) if cluster_queue else "",
    )
    policy = (networks.policy("default", errand.namespace, chosen),) if networks.closes(chosen) else ()
    return (*policy, secret(errand), job(errand))


def isolated() -> tuple[Manifest, ...]:
    """What a project has that lets in another one and a namespace of the cluster."""
    settings = Settings(platform_cidrs=("10.0.0.5/32",))
    policy = networks.isolation("default", "modelyard-default", settings, _NETWORK)
    assert policy is not None
    return (policy,)


def as_yaml(manifests: Sequence[Manifest]) -> str:
    """For people to read: what stands in files within files is not folded."""
    return writing.documents(manifests, width=10_000)


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


READING = DeploymentSpec(
    model="churn@3",
    env={
        "PASSWORD": "{{secret.db.PASSWORD}}",
        "URL": "pg://{{secret.db.USER}}:{{secret.db.PASSWORD}}@{{K8S_HOST_IP}}/$(NOT)$",
    },
    mounts=(Mount(kind=MountKind.SECRET, path="/keys", source="keys"),),
)
_SECRETS = {
    "db": SecretValues(mark="0123456789", values={"PASSWORD": SECRET.encode(), "USER": b"eve"}),
    "keys": SecretValues(mark="9876543210", values={"ca.crt": SECRET.encode(), "raw": b"\xff\x00"}),
}


def _reading(spec: DeploymentSpec) -> Desired:
    found = desired(spec)
    return replace(found, launch=replace(found.launch, secrets=_SECRETS))


def _other(kind: ServerKind, **changes: object) -> DeploymentSpec:
    return DeploymentSpec(model="churn@3", server=Server(kind=kind), env={"PASSWORD": SECRET}, **changes)  # type: ignore[arg-type]


def _with_variant(spec: DeploymentSpec) -> Desired:
    made = File(path="model.onnx", size=7, sha256="b" * 64)
    found = desired(spec)
    guest = found.launch.guest
    artifact = replace(guest.artifact, variant=(made,))
    guest = replace(guest, artifact=artifact, variant=Variant.ONNX, variant_path=_PATH)
    return replace(found, launch=replace(found.launch, guest=guest))


def _located(found: Desired) -> Desired:
    """Of a version that was published from a claim."""
    guest = replace(found.launch.guest, location=model_files.parse("pvc://models/churn/3"))
    return replace(found, launch=replace(found.launch, guest=guest))


def _in_image(spec: DeploymentSpec) -> Desired:
    found = desired(spec)
    guest = replace(found.launch.guest, runtime="torch", image="registry.example.org/team/torch:2")
    return replace(found, launch=replace(found.launch, guest=guest))


IMAGE = f"oci://registry.example.org/models/churn:3@sha256:{'0' * 64}#models"
_ONE_CARD = Resources(gpu="1", memory="1Gi")
_LOCK = "numpy==2.1.0 \\\n    --hash=sha256:aa\n"
_WHEELS = (File(path="numpy-2.1.0-cp312-cp312-manylinux_2_17_x86_64.whl", size=7, sha256="aa" * 32),)
_CACHE = Cache(size=200 << 30, storage_class="nfs")
_SHARED = Settings(cache=_CACHE)
_NETWORK = Network(isolated=True, allow_projects=("fraud",), allow_namespaces=("monitoring",))
_PULLED = Settings(images=Images(pull_secret="modelyard-registry"))
CASES: dict[str, Callable[[], tuple[Manifest, ...]]] = {
    "own-server": lambda: objects(desired(OWN)),
    "own-server-on-1.29": lambda: objects(desired(OWN), Capabilities(version=(1, 29))),
    "runtime-made-at-start": lambda: objects(desired(OWN, lock=_LOCK)),
    "model-in-a-claim": lambda: objects(desired(replace(OWN, model_files="pvc://models/churn/3"))),
    "model-in-an-image": lambda: objects(desired(replace(OWN, model_files=IMAGE))),
    "variant-beside-a-claim": lambda: objects(_with_variant(replace(OWN, model_files="pvc://models"))),
    "shared-cache": lambda: objects(desired(OWN, settings=_SHARED)),
    "task-with-a-shared-cache": lambda: (
        delivery.claim_of("default", "modelyard-default", _CACHE),
        *task(_SHARED),
    ),
    "runtime-of-lent-wheels": lambda: objects(desired(OWN, lock=_LOCK, wheels=_WHEELS)),
    "task-with-lent-wheels": lambda: task(lock=_LOCK, wheels=_WHEELS),
    "stage-debug": lambda: objects(desired(OWN, key=Key("default", "churn", Stage.DEBUG))),
    "any-server": lambda: objects(desired(SERVING, settings=_PULLED)),
    "secrets-of-the-project": lambda: objects(_reading(READING)),
    "triton": lambda: objects(desired(_other(ServerKind.TRITON, resources=_ONE_CARD))),
    "tfserving": lambda: objects(desired(_other(ServerKind.TFSERVING))),
    "torchserve": lambda: objects(desired(_other(ServerKind.TORCHSERVE))),
    "vllm": lambda: objects(desired(_other(ServerKind.VLLM, resources=_ONE_CARD))),
    "runtime-in-an-image": lambda: objects(_in_image(OWN)),
    "runtime-in-an-image-with-packages": lambda: objects(replace(_in_image(OWN), lock=_LOCK)),
    "task": task,
    "isolated-project": isolated,
    "task-with-a-claim": lambda: task(source="pvc://models/churn/3"),
    "task-with-an-image": lambda: task(source=IMAGE),
    "survey-of-a-claim": lambda: task(source="pvc://models/churn/3", kind=TaskKind.SURVEY),
    "survey-of-an-image": lambda: task(source=IMAGE, kind=TaskKind.SURVEY),
    "published-from-a-claim": lambda: objects(_located(desired(OWN))),
    "task-that-installs": lambda: task(lock=_LOCK),
    "task-in-a-queue": lambda: task(cluster_queue="research"),
}
KEPT = (
    "own-server", "any-server", "vllm", "stage-debug", "task", "model-in-a-claim", "model-in-an-image",
    "isolated-project",
    "task-with-a-claim", "survey-of-a-claim",
    "runtime-in-an-image-with-packages",
    "secrets-of-the-project",
)  # fmt: skip
"""Those that are golden files; the others are only judged."""
