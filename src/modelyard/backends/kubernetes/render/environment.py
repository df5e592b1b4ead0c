"""What a replica finds in its environment: the names of the embedded mode, filled in by the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.backends.kubernetes.render.desired import Desired
from modelyard.domain import gpu as cards
from modelyard.domain import texts

MODELS = "/models"
CONFIG = "/config"
WORK = "/home/modelyard"
RUN = "/run/modelyard"
RUNTIME = "/runtime"
"""Volume of the environment that is made when the pod starts."""
PLATFORM = "/etc/modelyard"
"""Where the platform's own files are laid."""

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_FIELDS = {
    "K8S_POD_NAME": "metadata.name",
    "K8S_POD_NAMESPACE": "metadata.namespace",
    "K8S_POD_IP": "status.podIP",
    "K8S_HOST_IP": "status.hostIP",
    "K8S_NODE_NAME": "spec.nodeName",
}
"""What only the cluster knows, by the variables that tell it."""

Variable = dict[str, Any]


def variables(desired: Desired, names: Mapping[str, str], secret: str) -> list[Variable]:
    """The container's environment: what the cluster knows first, since other values may name it.

    `names` are more of the platform's own, such as ports. The user's values are in the Secret `secret`, but
    for those with names to fill in.
    """
    own = {**_platform(desired), **names}
    known = {**own, **{name: f"$({name})" for name in _FIELDS}, "creator": desired.launch.creator}
    cluster = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FIELDS.items()
    ]
    mine = [{"name": name, "value": value} for name, value in own.items()]
    return [*cluster, *mine, *_of_user(desired, known, secret)]


def secrets(desired: Desired) -> dict[str, str]:
    """The user's values that are kept in a Secret: all without names to fill in."""
    return {name: value for name, value in _allowed(desired).items() if not _is_template(value)}


def names_for(desired: Desired, more: Mapping[str, str]) -> dict[str, str]:
    """What templates in commands and files may name."""
    fields = {name: f"$({name})" for name in _FIELDS}
    return {**_platform(desired), **more, **fields, **_allowed(desired), "creator": desired.launch.creator}


def threads(cpu_millis: int, workers: int) -> int:
    """How many threads each of a replica's workers is worth: cores rounded up, at least one."""
    return max(1, -(-cpu_millis // 1000) // workers)


def _of_user(desired: Desired, known: Mapping[str, str], secret: str) -> Iterator[Variable]:
    for name, value in _allowed(desired).items():
        if _is_template(value):
            yield {"name": name, "value": _filled(value, known)}
        else:
            yield {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}


def _filled(value: str, known: Mapping[str, str]) -> str:
    """A template's value. What is a reference for Kubernetes and was text for the user stays text."""
    return texts.fill(value.replace("$(", "$$("), known)


def _is_template(value: str) -> bool:
    return "{{" in value or "$model_" in value or "${model_" in value


def _allowed(desired: Desired) -> dict[str, str]:
    """The user's variables, without those that the platform sets."""
    launch = desired.launch
    found = {**launch.guest.env, **(launch.program.env if launch.program else launch.spec.env)}
    reserved = {*_FIELDS, *_platform(desired)}
    return {
        name: value
        for name, value in found.items()
        if not name.upper().startswith("MODELYARD_") and name not in reserved
    }


def _platform(desired: Desired) -> dict[str, str]:
    launch = desired.launch
    model = MODELS if launch.guest.artifact.files else ""
    image = launch.program.image if launch.program else ""
    workers = threads(launch.cpu_millis, launch.spec.workers)
    return {
        "MODELYARD_PROJECT": launch.key.project,
        "MODELYARD_SERVICE": launch.key.service,
        "MODELYARD_STAGE": launch.key.stage.value,
        "MODELYARD_MODEL": launch.model,
        "MODELYARD_MODEL_VERSION": launch.version,
        "MODELYARD_MODEL_PATH": model,
        "MODELYARD_REVISION": str(launch.revision),
        "MODELYARD_REPLICA": "$(K8S_POD_NAME)",
        "MODELYARD_CONFIG_DIR": CONFIG,
        "MODELYARD_WORK_DIR": WORK,
        "MODELYARD_RUN_DIR": RUN,
        "MODELYARD_PLATFORM_DIR": PLATFORM,
        "MODELYARD_HOST": "$(K8S_POD_IP)",
        "KUBEFLOW_ENV": launch.key.stage.value,
        "KUBEFLOW_MODEL_PATH": model,
        "KUBEFLOW_MODEL_VERSION": launch.version,
        "KUBEFLOW_MODEL_IMAGES": image or desired.settings.images.serving,
        "KUBEFLOW_MODEL_NAME": launch.model,
        "KUBEFLOW_AREA": desired.settings.area,
        "MODEL_CONFIG_DIR": CONFIG,
        "RESOURCE_CPU": launch.spec.resources.cpu,
        "RESOURCE_MEMORY": launch.spec.resources.memory,
        "RESOURCE_GPU": launch.spec.resources.gpu,
        "HOME": WORK,
        "TMPDIR": "/tmp",  # noqa: S108 - the pod's own
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",
        **dict.fromkeys(_THREADS, str(workers)),
        **_devices(launch.spec.resources.gpu),
    }


def _devices(gpu: str) -> dict[str, str]:
    """Images that say `NVIDIA_VISIBLE_DEVICES=all` would show every card to who asked for none."""
    wanted = cards.parse(gpu, "spec.resources.gpu")
    return {} if wanted.count else {"NVIDIA_VISIBLE_DEVICES": "none", "CUDA_VISIBLE_DEVICES": ""}
