"""The pod of a replica: restricted, with its model fetched before it starts."""

from __future__ import annotations

import copy
import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.backends.kubernetes import names, priorities
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.render import delivery, environment, mounts, probes, references, runtime
from modelyard.backends.kubernetes.render.desired import Desired
from modelyard.domain import quantity, texts
from modelyard.domain.deployment import Stage
from modelyard.domain.program import Program

USER = 10001
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_ASLEEP = ["sleep", "infinity"]
_OWN = ["python", "-m", "modelyard.serving"]


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
    """Secret with the list of files to fetch; empty when there are none."""
    check: str = ""
    """ConfigMap with the list of files that a volume must have; empty when they are fetched."""
    packages: str = ""
    """Secret with the lock of the runtime; empty when the image has its packages."""
    claim: str = ""
    """ResourceClaimTemplate of its GPUs; empty where they are not claimed."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Secrets with what it may read of the project's secrets, by the names of those."""


def template(desired: Desired, named: Named, capabilities: Capabilities) -> dict[str, Any]:
    """The pod template of a revision, without what its GPUs add."""
    launch = desired.launch
    labels = {**desired.labels, names.TAKES_REQUESTS: "true", names.WORKLOAD: "service"}
    grace = desired.settings.drain_wait_seconds + math.ceil(launch.spec.drain_seconds) + 5
    spec = {
        "serviceAccountName": named.account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": priorities.of_service(launch.spec.priority.level, launch.key.stage),
        "terminationGracePeriodSeconds": grace,
        "affinity": affinity("deploy"),
        "topologySpreadConstraints": [_spread(desired)],
        "securityContext": security(),
        "initContainers": modest(
            [
                *delivery.containers(desired, named.fetch, named.check, restricted()),
                *runtime.containers(
                    runtime.images(desired.settings.images, launch.guest),
                    named.packages,
                    restricted(),
                    lends=desired.wheels is not None,
                ),
            ],
            cpu_millis=launch.cpu_millis,
            memory_bytes=launch.memory_bytes,
        ),
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


def modest(first: Iterable[dict[str, Any]], *, cpu_millis: int, memory_bytes: int) -> list[dict[str, Any]]:
    """What prepares a pod asks for no more than what it prepares for.

    So the pod counts, for the scheduler and for quotas, as what the platform planned it for; 0 is not said.
    """
    found = copy.deepcopy(list(first))
    for each in found:
        asked = each["resources"]["requests"]
        if cpu_millis and cpu_millis < quantity.parse_cpu(asked["cpu"], "cpu"):
            asked["cpu"] = f"{cpu_millis}m"
        if memory_bytes and memory_bytes < quantity.parse_memory(asked["memory"], "memory"):
            asked["memory"] = str(memory_bytes)
    return found


def _container(desired: Desired, named: Named, capabilities: Capabilities) -> dict[str, Any]:
    launch, images = desired.launch, desired.settings.images
    extra = environment.told(desired)
    by_hand = _by_hand(desired, extra) if launch.key.stage is Stage.DEBUG else {}
    container = {
        "name": names.SERVER,
        "image": desired.image,
        "imagePullPolicy": images.pull_policy,
        **_run(desired, extra),
        "ports": [
            {"name": name, "containerPort": port}
            for name, port in zip(("http", "second"), ports(desired), strict=False)
        ],
        "env": environment.variables(desired, {**extra, **by_hand}, named.env, named.secrets),
        "resources": _resources(desired),
        "securityContext": restricted(),
        **_lifecycle(desired, capabilities),
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
            "command": [*_OWN],
            "args": list(map(references.expanded, _front())),
            "workingDir": environment.WORK,
        }
    known = environment.names_for(desired, extra)
    words = texts.argv(texts.fill_command(server.command, known)) if server.command else ()
    command = list(map(references.expanded, words))
    where = texts.fill(server.working_directory, references.without(known))
    found: dict[str, Any] = {"command": command} if command else {}
    if where or command:
        found["workingDir"] = where if where.startswith("/") else f"{environment.WORK}/{where}".rstrip("/")
    return found


def _by_hand(desired: Desired, extra: dict[str, str]) -> dict[str, str]:
    """What somebody in a pod that sleeps starts the server with; nothing for an image's own command."""
    server = desired.launch.program
    if server is None:
        return {"MODELYARD_START_COMMAND": shlex.join(_OWN) + " " + " ".join(_front())}
    known = environment.names_for(desired, extra)
    filled = texts.fill_command(server.command, known)
    command = filled if isinstance(filled, str) else shlex.join(filled)
    return {"MODELYARD_START_COMMAND": command} if command else {}


def _front() -> list[str]:
    return [
        "--config", f"{environment.PLATFORM}/replica/replica.json",
        "--listen", f"{references.of('K8S_POD_IP')}:{names.PORT}",
        "--replica", references.of("K8S_POD_NAME"),
        "--last-words", "/dev/termination-log",
    ]  # fmt: skip


def _probes(desired: Desired, extra: dict[str, str]) -> dict[str, Any]:
    spec, server = desired.launch.spec, desired.launch.program
    wanted = server.health if server else spec.health
    if server is None and not wanted.asks:
        return probes.own(port=names.PORT, start_seconds=spec.start_timeout_seconds)
    return probes.asked(
        wanted,
        port_of=lambda port: _port(server, port),
        names=environment.names_for(desired, extra),
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


def waits_before_stop(container: dict[str, Any]) -> int:
    """How many seconds a container of ours goes on answering after it was told to go."""
    hook = (container.get("lifecycle") or {}).get("preStop") or {}
    said = (hook.get("sleep") or {}).get("seconds") or (hook.get("exec") or {}).get("command", ["0"])[-1]
    return int(said)


def _lifecycle(desired: Desired, capabilities: Capabilities) -> dict[str, Any]:
    wait = desired.settings.drain_wait_seconds
    if not wait:
        return {}
    if capabilities.sleeps_before_stop:
        return {"lifecycle": {"preStop": {"sleep": {"seconds": wait}}}}
    return {"lifecycle": {"preStop": {"exec": {"command": ["sleep", str(wait)]}}}}


def _volume_mounts(desired: Desired, named: Named) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "work", "mountPath": environment.WORK},
        {"name": "run", "mountPath": environment.RUN},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
    ]
    for name, path in (
        ("replica", f"{environment.PLATFORM}/replica" if named.platform else ""),
        ("config", environment.CONFIG if named.config else ""),
    ):
        if path:
            found.append({"name": name, "mountPath": path, "readOnly": True})
    found[4:4] = delivery.mounts(desired, named.fetch)
    if named.packages:
        found.append(runtime.mount())
    # What a user lays where the pod has something takes its place: no path can be mounted twice.
    laid = {mount.place for mount in desired.launch.spec.mounts}
    kept = [each for each in found if each["mountPath"] not in laid]
    return kept + mounts.mounts(desired.launch.spec.mounts)


def _volumes(desired: Desired, named: Named) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in ("work", "run", "tmp")]
    found.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
    found += delivery.volumes(desired, named.fetch, named.check)
    if named.platform:
        found.append({"name": "replica", "configMap": {"name": named.platform}})
    if named.config:
        found.append({"name": "config", "configMap": {"name": named.config}})
    found += runtime.volumes(named.packages, lends=desired.wheels is not None)
    return found + mounts.volumes(desired.launch.spec.mounts, config=named.config, secrets=named.secrets)
