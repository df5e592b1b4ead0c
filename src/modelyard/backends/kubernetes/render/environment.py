"""What a replica finds in its environment: the names of the embedded mode, filled in by the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.backends.kubernetes import names as pod_names
from modelyard.backends.kubernetes.render import references
from modelyard.backends.kubernetes.render.desired import Desired
from modelyard.domain import gpu as cards
from modelyard.domain import health, texts
from modelyard.domain import secret as confidential

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
_USUAL = ("HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "PYTHONNOUSERSITE", *_THREADS)
"""What is so unless the user has it otherwise, as on one machine."""
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - within the pod's own network
_FIELDS = {
    "K8S_POD_NAME": "metadata.name",
    "K8S_POD_NAMESPACE": "metadata.namespace",
    "K8S_POD_IP": "status.podIP",
    "K8S_HOST_IP": "status.hostIP",
    "K8S_NODE_NAME": "spec.nodeName",
}
"""What only the cluster knows, by the variables that tell it."""

Variable = dict[str, Any]


def variables(
    desired: Desired, names: Mapping[str, str], secret: str, secrets: Mapping[str, str]
) -> list[Variable]:
    """The container's environment: what the cluster knows first, since other values may name it.

    `names` are more of the platform's own, such as ports. The user's values are in the Secret `secret`, but
    for those with names to fill in; values of the project's secrets in `secrets`, by the names of those.
    """
    allowed = _allowed(desired)
    own = {n: value for n, value in {**_platform(desired), **names}.items() if n not in allowed}
    known = {**own, **_fields(), "creator": desired.launch.creator}
    cluster = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FIELDS.items()
    ]
    mine = [{"name": name, "value": references.expanded(value)} for name, value in own.items()]
    given = _Given(known, secret, secrets, _pieces(desired))
    return [*cluster, *mine, *given.pieces_apart(), *_of_user(desired, given)]


def secrets(desired: Desired) -> dict[str, str]:
    """The user's values that are kept in a Secret: all without names to fill in."""
    return {name: value for name, value in _allowed(desired).items() if not _is_template(value)}


def names_for(desired: Desired, more: Mapping[str, str]) -> dict[str, str]:
    """What templates in commands and files may name; values have `references` in them."""
    allowed, hidden = _allowed(desired), confidential.hidden(_allowed(desired))
    creator = {"creator": desired.launch.creator}
    known = {**_platform(desired), **more, **_fields(), **creator}
    shown = {name: texts.fill(value, known) for name, value in allowed.items() if name not in hidden}
    return {**known, **shown, **creator}


def names_for_files(desired: Desired) -> dict[str, str]:
    """What configuration files may name: one text for all pods, so nothing that only a pod knows of itself.

    A server that listens at the address from a file listens at all addresses of its pod.
    """
    known = {**names_for(desired, told(desired)), "MODELYARD_HOST": _EVERYWHERE}
    return references.without(known)


def told(desired: Desired) -> dict[str, str]:
    """What a server is told of its ports, as in the embedded mode: here they are what the user wrote."""
    server = desired.launch.program
    if server is None:
        return {"MODELYARD_PORT": str(pod_names.PORT)}
    found = {f"MODELYARD_PORT_{port}": str(port) for port in server.every_port}
    found |= dict(zip(("MODELYARD_PORT", "MODELYARD_PORT_2"), map(str, server.ports), strict=False))
    port, path = health.target(server.metrics)
    if path and (port or server.ports):
        found["MODELYARD_METRICS_PORT"] = str(port or server.ports[0])
    if server.executable:
        found["MODELYARD_PROGRAM"] = server.executable
    return {**found, "PORT": found["MODELYARD_PORT"]} if "MODELYARD_PORT" in found else found


def threads(cpu_millis: int, workers: int) -> int:
    """How many threads each of a replica's workers is worth: cores rounded up, at least one."""
    return max(1, -(-cpu_millis // 1000) // workers)


@dataclass(frozen=True, slots=True)
class _Given:
    """What the user's variables are made of."""

    known: Mapping[str, str]
    own: str
    """The Secret with the values that the spec has."""
    secrets: Mapping[str, str]
    """Those with values of the project's secrets."""
    pieces: tuple[tuple[str, str], ...]
    """Name and key of the values that are but a part of a variable."""

    def pieces_apart(self) -> Iterator[Variable]:
        """A variable for each of them, which others then name."""
        for name, key in self.pieces:
            yield self.referred(_piece(self.pieces.index((name, key))), name, key)

    def referred(self, variable: str, name: str, key: str) -> Variable:
        """A variable whose value is in a secret of the project."""
        reference = {"name": self.secrets[name], "key": key}
        return {"name": variable, "valueFrom": {"secretKeyRef": reference}}

    def composed(self, text: str) -> str:
        """A value of several pieces: none of a secret stands in it."""
        pieces = (
            references.of(_piece(self.pieces.index(piece)))
            if isinstance(piece, tuple)
            else texts.fill(piece, self.known)
            for piece in confidential.split(text)
        )
        return references.expanded("".join(pieces))


def _of_user(desired: Desired, given: _Given) -> Iterator[Variable]:
    for name, value in _allowed(desired).items():
        match tuple(confidential.split(value)):
            case ((str(secret), str(key)),) if secret in given.secrets:
                yield given.referred(name, secret, key)
            case _ if _is_template(value):
                yield {"name": name, "value": given.composed(value)}
            case _:
                yield {"name": name, "valueFrom": {"secretKeyRef": {"name": given.own, "key": name}}}


def _pieces(desired: Desired) -> tuple[tuple[str, str], ...]:
    """The values of secrets that stand among other text, each once."""
    split = [tuple(confidential.split(value)) for value in _allowed(desired).values()]
    found = [piece for pieces in split if len(pieces) > 1 for piece in pieces if isinstance(piece, tuple)]
    return tuple(dict.fromkeys(found))


def _piece(number: int) -> str:
    return f"MODELYARD_SECRET_{number + 1}"


def _fields() -> dict[str, str]:
    return {name: references.of(name) for name in _FIELDS}


def _is_template(value: str) -> bool:
    return "{{" in value or "$model_" in value or "${model_" in value


def _allowed(desired: Desired) -> dict[str, str]:
    """The user's variables, without those that the platform sets whatever they say."""
    launch = desired.launch
    found = {**launch.guest.env, **(launch.program.env if launch.program else launch.spec.env)}
    reserved = {*_FIELDS, *_platform(desired)} - {*_USUAL}
    return {
        name: value
        for name, value in found.items()
        if not name.upper().startswith("MODELYARD_") and name not in reserved
    }


def _platform(desired: Desired) -> dict[str, str]:
    launch = desired.launch
    model = MODELS if launch.guest.artifact.files else ""
    workers = threads(launch.cpu_millis, launch.spec.workers)
    return {
        "MODELYARD_PROJECT": launch.key.project,
        "MODELYARD_SERVICE": launch.key.service,
        "MODELYARD_STAGE": launch.key.stage.value,
        "MODELYARD_MODEL": launch.model,
        "MODELYARD_MODEL_VERSION": launch.version,
        "MODELYARD_MODEL_PATH": model,
        "MODELYARD_REVISION": str(launch.revision),
        "MODELYARD_REPLICA": references.of("K8S_POD_NAME"),
        "MODELYARD_CONFIG_DIR": CONFIG,
        "MODELYARD_WORK_DIR": WORK,
        "MODELYARD_RUN_DIR": RUN,
        "MODELYARD_PLATFORM_DIR": PLATFORM,
        "MODELYARD_MOUNT_DIR": "/",
        **{mount.variable: mount.path for mount in launch.spec.mounts},
        "MODELYARD_HOST": references.of("K8S_POD_IP"),
        "KUBEFLOW_ENV": launch.key.stage.value,
        "KUBEFLOW_MODEL_PATH": model,
        "KUBEFLOW_MODEL_VERSION": launch.version,
        "KUBEFLOW_MODEL_IMAGES": desired.image,
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
