"""The pod of a replica: restricted, with its model fetched before it starts."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.render import environment, mounts, probes, runtime
from modelyard.backends.kubernetes.render.desired import Desired, Images
from modelyard.domain import texts
from modelyard.domain.deployment import Stage
from modelyard.domain.program import Program

USER = 10001
PRE_STOP_SECONDS = 5
"""How long a pod that is to go still answers, until every node knows that nothing is to be sent to it."""
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_ASLEEP = ["sleep", "infinity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the objects beside the pod are called."""

    account: str
    platform: str
    """ConfigMap with replica.json."""
    config: str
    """ConfigMap with the user's files; empty without any."""
    env: str
    """Secret with the user's environment; empty without any."""
    fetch: str
    """Secret with the list of files to fetch; empty without a model."""
    packages: str = ""
    """Secret with the lock of the runtime; empty when the image has its packages."""


def template(desired: Desired, named: Named, capabilities: Capabilities) -> dict[str, Any]:
    """The pod template of a revision, without what its GPUs add."""
    launch = desired.launch
    labels = {**desired.labels, names.TAKES_REQUESTS: "true", names.WORKLOAD: "service"}
    grace = PRE_STOP_SECONDS + math.ceil(launch.spec.drain_seconds) + 5
    spec = {
        "serviceAccountName": named.account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": f"modelyard-serving-{launch.spec.priority.level.value}",
        "terminationGracePeriodSeconds": grace,
        "affinity": affinity("deploy"),
        "topologySpreadConstraints": [_spread(desired)],
        "securityContext": security(),
        "initContainers": [
            *_fetch(desired, named),
            *runtime.containers(desired.settings.images, named.packages, restricted()),
        ],
        "containers": [_container(desired, named, capabilities)],
        "volumes": _volumes(desired, named),
    }
    if desired.settings.images.pull_secret:
        spec["imagePullSecrets"] = [{"name": desired.settings.images.pull_secret}]
    return {
        "metadata": {"labels": labels},
        "spec": {name: value for name, value in spec.items() if value != []},
    }


def security() -> dict[str, Any]:
    """The pod's security context: nobody in particular, and no privileges."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted() -> dict[str, Any]:
    """A container's security context."""
    return copy.deepcopy(_RESTRICTED)


def ports(desired: Desired) -> tuple[int, ...]:
    """The container's ports with addresses: the first gets the service's requests."""
    program = desired.launch.program
    return program.ports[:2] if program else (names.PORT,)


def affinity(role: str) -> dict[str, Any]:
    """Only nodes of this class; a node that nobody classified is everything."""
    role = f"modelyard.dev/role-{role}"
    terms = [
        {"matchExpressions": [{"key": role, "operator": "In", "values": ["true"]}]},
        {"matchExpressions": [{"key": "modelyard.dev/classes", "operator": "DoesNotExist"}]},
    ]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def _spread(desired: Desired) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.labels(desired.launch.key)},
    }


def _fetch(desired: Desired, named: Named) -> list[dict[str, Any]]:
    """The init container that brings the model, checked, into an empty directory."""
    return [fetcher(desired.settings.images)] if named.fetch else []


def fetcher(images: Images) -> dict[str, Any]:
    """What brings the files of the volume `fetch`'s manifest into the volume `models`."""
    return (
        {
            "name": names.FETCH,
            "image": images.fetch,
            "imagePullPolicy": images.pull_policy,
            "command": ["python", "-m", "modelyard_fetch"],
            "args": [
                "--manifest", f"{environment.PLATFORM}/fetch/manifest.json",
                "--into", environment.MODELS,
                "--last-words", "/dev/termination-log",
            ],
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"},
            },
            "securityContext": restricted(),
            "volumeMounts": [
                {"name": "models", "mountPath": environment.MODELS},
                {"name": "fetch", "mountPath": f"{environment.PLATFORM}/fetch", "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            ],
        }
    )  # fmt: skip


def _container(desired: Desired, named: Named, capabilities: Capabilities) -> dict[str, Any]:
    launch, images = desired.launch, desired.settings.images
    server = launch.program
    extra = _names(desired)
    container = {
        "name": names.SERVER,
        "image": (server.image if server else "") or images.serving,
        "imagePullPolicy": images.pull_policy,
        **_run(desired, extra),
        "ports": [
            {"name": name, "containerPort": port}
            for name, port in zip(("http", "second"), ports(desired), strict=False)
        ],
        "env": environment.variables(desired, extra, named.env),
        "resources": _resources(desired),
        "securityContext": restricted(),
        "lifecycle": {"preStop": _pre_stop(capabilities)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _volume_mounts(desired, named),
    }
    if launch.key.stage is not Stage.DEBUG:
        container |= _probes(desired, extra)
    return container


def _run(desired: Desired, extra: dict[str, str]) -> dict[str, Any]:
    """What the container runs; an image's own command where nobody wrote one."""
    server = desired.launch.program
    if desired.launch.key.stage is Stage.DEBUG:
        return {"command": _ASLEEP, "workingDir": environment.WORK}
    if server is None:
        return {
            "command": ["python", "-m", "modelyard.serving"],
            "args": _front(),
            "workingDir": environment.WORK,
        }
    known = environment.names_for(desired, extra)
    command = [_word(word, known) for word in texts.argv(server.command)] if server.command else []
    where = texts.fill(server.working_directory, known)
    found: dict[str, Any] = {"command": command} if command else {}
    if where or command:
        found["workingDir"] = where if where.startswith("/") else f"{environment.WORK}/{where}".rstrip("/")
    return found


def _front() -> list[str]:
    return [
        "--config", f"{environment.PLATFORM}/replica/replica.json",
        "--listen", f"$(K8S_POD_IP):{names.PORT}",
        "--replica", "$(K8S_POD_NAME)",
        "--last-words", "/dev/termination-log",
    ]  # fmt: skip


def _word(word: str, known: dict[str, str]) -> str:
    """A word of the user's command: what Kubernetes would take for a reference stays text."""
    return texts.fill(word.replace("$(", "$$("), known)


def _names(desired: Desired) -> dict[str, str]:
    """What a server is told of its ports, as in the embedded mode: here they are what the user wrote."""
    server = desired.launch.program
    if server is None:
        return {"MODELYARD_PORT": str(names.PORT)}
    found = {f"MODELYARD_PORT_{port}": str(port) for port in server.every_port}
    found |= dict(zip(("MODELYARD_PORT", "MODELYARD_PORT_2"), map(str, server.ports), strict=False))
    if server.executable:
        found["MODELYARD_PROGRAM"] = server.executable
    return {**found, **{"PORT": found["MODELYARD_PORT"]}} if "MODELYARD_PORT" in found else found


def _probes(desired: Desired, extra: dict[str, str]) -> dict[str, Any]:
    spec, server = desired.launch.spec, desired.launch.program
    wanted = server.health if server else spec.health
    if server is None and not wanted.asks:
        return probes.own(port=names.PORT, start_seconds=spec.start_timeout_seconds)
    known = environment.names_for(desired, extra)
    return probes.asked(
        wanted,
        port_of=lambda port: _port(server, port),
        fill=lambda text: texts.fill(text, known),
        start_seconds=spec.start_timeout_seconds,
    )


def _port(server: Program | None, port: int) -> int:
    """Modelyard's own server has one port, whichever is asked for."""
    return (port or server.ports[0]) if server else names.PORT


def _resources(desired: Desired) -> dict[str, Any]:
    """Cores are asked for and not limited, as spare ones help everybody; memory is both."""
    launch = desired.launch
    requests = {"cpu": f"{launch.cpu_millis}m"} if launch.cpu_millis else {}
    limits: dict[str, str] = {}
    if launch.memory_bytes:
        requests["memory"] = limits["memory"] = str(launch.memory_bytes)
    return {name: value for name, value in (("requests", requests), ("limits", limits)) if value}


def _pre_stop(capabilities: Capabilities) -> dict[str, Any]:
    if capabilities.sleeps_before_stop:
        return {"sleep": {"seconds": PRE_STOP_SECONDS}}
    return {"exec": {"command": ["sleep", str(PRE_STOP_SECONDS)]}}


def _volume_mounts(desired: Desired, named: Named) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "work", "mountPath": environment.WORK},
        {"name": "run", "mountPath": environment.RUN},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
    ]
    for name, path in (
        ("models", environment.MODELS if named.fetch else ""),
        ("replica", f"{environment.PLATFORM}/replica" if named.platform else ""),
        ("config", environment.CONFIG if named.config else ""),
    ):
        if path:
            found.append({"name": name, "mountPath": path, "readOnly": True})
    if named.packages:
        found.append(runtime.mount())
    return found + mounts.mounts(desired.launch.spec.mounts)


def _volumes(desired: Desired, named: Named) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in ("work", "run", "tmp")]
    found.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
    if named.fetch:
        found.append({"name": "models", "emptyDir": {}})
        found.append({"name": "fetch", "secret": {"secretName": named.fetch}})
    if named.platform:
        found.append({"name": "replica", "configMap": {"name": named.platform}})
    if named.config:
        found.append({"name": "config", "configMap": {"name": named.config}})
    found += runtime.volumes(named.packages)
    return found + mounts.volumes(desired.launch.spec.mounts, config=named.config)
