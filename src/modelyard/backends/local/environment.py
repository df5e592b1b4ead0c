"""What a model's process finds in its environment: made from nothing, so that nothing of ours can leak."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field

from modelyard.backends.base import Guest, Launch
from modelyard.backends.process import MARK
from modelyard.domain import secret, texts
from modelyard.domain.deployment import Resources

AREA = "local"
"""Value of KUBEFLOW_AREA; the embedded mode is one place."""

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_PATH = "/usr/local/bin:/usr/bin:/bin"
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a guest process runs."""

    work: str
    """Its working and home directory."""
    temporary: str
    config: str
    """Directory of its configuration files."""
    node: str
    mark: str
    threads: int
    path: str = _PATH
    """Where programs are looked for, after the interpreter's own directory."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What else a replica is told, such as its ports and mounts."""


def of_front(place: Place, *, interpreter: str) -> dict[str, str]:
    """Environment of a serving front, which is our own code and needs next to nothing."""
    return {**_plain(place, interpreter), "PYTHONSAFEPATH": "1"}


def of_replica(launch: Launch, place: Place) -> dict[str, str]:
    """Environment of a replica: the user's own last, the platform's names not to be overridden."""
    guest = launch.guest
    user = _of_user(launch)
    platform = {
        **_identity(launch, place),
        **_compatible(launch, place),
        **_devices(launch.gpus),
        **place.names,
        MARK: place.mark,
    }
    usual = {"PORT": place.names["MODELYARD_PORT"]} if "MODELYARD_PORT" in place.names else {}
    names = {**platform, "creator": launch.creator}
    filled = {
        name: secret.fill(texts.fill(value, names), launch.secrets)
        for name, value in {**usual, **_allowed(user)}.items()
    }
    return {**_plain(place, guest.interpreter), **filled, **platform}


def shown(launch: Launch, env: Mapping[str, str]) -> dict[str, str]:
    """What of a replica's environment may stand in commands and files: nothing that holds a secret."""
    return {name: value for name, value in env.items() if name not in secret.hidden(_of_user(launch))}


def of_task(guest: Guest, place: Place, *, gpus: tuple[int, ...]) -> dict[str, str]:
    """Environment of a one-off guest."""
    platform = {"MODELYARD_MODEL_PATH": str(guest.path), **_devices(gpus), MARK: place.mark}
    return {**_plain(place, guest.interpreter), **_allowed(guest.env), **platform}


def threads(cpu_millis: int, *, node_millis: int) -> int:
    """How many threads a share of the machine is worth: cores rounded up, all when nothing is reserved."""
    return max(1, -(-(cpu_millis or node_millis) // 1000))


def _plain(place: Place, interpreter: str) -> dict[str, str]:
    own = os.path.dirname(interpreter)
    return {
        "PATH": f"{own}:{place.path}" if own else place.path,
        "HOME": place.work,
        "LANG": "C.UTF-8",
        "TMPDIR": place.temporary,
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        MARK: place.mark,
        **dict.fromkeys(_THREADS, str(place.threads)),
    }


def _of_user(launch: Launch) -> dict[str, str]:
    return {**launch.guest.env, **(launch.program.env if launch.program else launch.spec.env)}


def _allowed(user: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in user.items() if not name.upper().startswith("MODELYARD_")}


def _devices(gpus: tuple[int, ...]) -> dict[str, str]:
    """GPUs are given out whole: what was not assigned must not be visible, whatever the user sets."""
    chosen = ",".join(map(str, gpus))
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": chosen,
        "NVIDIA_VISIBLE_DEVICES": chosen or "none",
    }


def _identity(launch: Launch, place: Place) -> dict[str, str]:
    return {
        "MODELYARD_PROJECT": launch.key.project,
        "MODELYARD_SERVICE": launch.key.service,
        "MODELYARD_STAGE": launch.key.stage.value,
        "MODELYARD_MODEL": launch.model,
        "MODELYARD_MODEL_VERSION": launch.version,
        "MODELYARD_MODEL_PATH": _model_path(launch.guest),
        "MODELYARD_REVISION": str(launch.revision),
        "MODELYARD_REPLICA": launch.replica,
        "MODELYARD_CONFIG_DIR": place.config,
        "MODELYARD_WORK_DIR": place.work,
    }


def _compatible(launch: Launch, place: Place) -> dict[str, str]:
    """The eleven names that scripts made for other platforms look for, and what they ask of resources."""
    asked: Resources = launch.spec.resources
    return {
        "KUBEFLOW_ENV": launch.key.stage.value,
        "KUBEFLOW_MODEL_PATH": _model_path(launch.guest),
        "KUBEFLOW_MODEL_VERSION": launch.version,
        "KUBEFLOW_MODEL_IMAGES": launch.program.image or launch.guest.runtime
        if launch.program
        else launch.guest.runtime,
        "KUBEFLOW_MODEL_NAME": launch.model,
        "KUBEFLOW_AREA": AREA,
        "K8S_NODE_NAME": place.node,
        "K8S_POD_NAMESPACE": launch.key.project,
        "K8S_POD_IP": _LOOPBACK,
        "K8S_HOST_IP": _LOOPBACK,
        "K8S_POD_NAME": launch.replica,
        "MODEL_CONFIG_DIR": place.config,
        "RESOURCE_CPU": asked.cpu,
        "RESOURCE_MEMORY": asked.memory,
        "RESOURCE_GPU": asked.gpu,
    }


def _model_path(guest: Guest) -> str:
    """Directory of the model's files; nothing for a service without a model."""
    return str(guest.path) if guest.artifact.files else ""
