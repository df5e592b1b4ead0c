"""How a model's files come into a pod: fetched, or on a volume that has them, and then compared."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.kinds import PERSISTENT_VOLUME_CLAIM, Manifest
from modelyard.backends.kubernetes.render import environment
from modelyard.backends.kubernetes.render.desired import Cache, Desired, Images, Settings
from modelyard.domain import model_files
from modelyard.domain.model import File
from modelyard.domain.model_files import InClaim, InImage, ModelFiles

MANIFEST = "manifest.json"
VARIANT = ".variant"
"""Folder of the compiled variant, below the model's."""
BESIDE = "/variant"
"""Where the variant is when the model's own folder is a volume that nothing is written to."""
_CACHE = "/cache"
_LAID = f"{environment.PLATFORM}/check"
_LONG = 256 * 1024
"""Bytes of a manifest that is packed: Secrets and ConfigMaps take a mebibyte in all."""
_MOST_KNOWN = 1000
"""Files whose names and checksums a worker is told; each takes about 150 bytes of an object's mebibyte."""
Listed = list[dict[str, Any]]


def laid(desired: Desired) -> ModelFiles | None:
    """The volume that has the model's files already; None when they are fetched."""
    said = model_files.parse(desired.launch.spec.model_files)
    return (said or desired.launch.guest.location) if desired.launch.guest.artifact.files else None


def fetched(desired: Desired) -> Listed:
    """The files that the init container brings, and what opens each."""
    artifact = desired.launch.guest.artifact
    inside = "" if laid(desired) else f"{VARIANT}/"
    found = [] if laid(desired) else list(artifact.files)
    if desired.launch.guest.variant_path is not None:
        found += [replace(file, path=inside + file.path) for file in artifact.variant]
    return lent(found, desired.tokens)


def lent(files: Iterable[File], tokens: Mapping[str, str]) -> Listed:
    """Files with what opens each; they are where the manifest's `base` says."""
    return [{**asdict(file), "token": tokens.get(file.sha256, "")} for file in files]


def manifest(files: Listed, *, base: str = "") -> str | bytes:
    """What a fetcher or a checker is told: text, or packed where that would be long."""
    text = json.dumps({"base": base.rstrip("/"), "files": files} if base else {"files": files})
    return text if len(text) <= _LONG else gzip.compress(text.encode(), mtime=0)


def known(config: dict[str, Any]) -> dict[str, Any]:
    """A worker's configuration with the largest of many files, and how much all are.

    All were compared before the server started, by who fetched them or by the check.
    """
    files = config.get("files") or []
    if len(files) <= _MOST_KNOWN:
        return config
    largest = sorted(files, key=lambda each: (-each["size"], each["path"]))[:_MOST_KNOWN]
    return {**config, "files": largest, "bytes": sum(each["size"] for each in files)}


def compared(desired: Desired) -> Listed:
    """The files that a volume must have as they were published."""
    return [asdict(file) for file in desired.launch.guest.artifact.files] if laid(desired) else []


def variant_path(desired: Desired, home: Path) -> Path:
    """Where the model's process finds the compiled variant; `home` is where it finds the model."""
    return Path(BESIDE) if laid(desired) else home / VARIANT


def fetcher(
    settings: Settings, security: dict[str, Any], *, into: str = environment.MODELS
) -> dict[str, Any]:
    """What brings the files of the volume `fetch`'s manifest into the volume `models`, or `variant`.

    Nobody but fetchers mounts what they share, so that no model or server can spoil what others get.
    """
    images, cache = settings.images, settings.cache
    shares = ["--cache", _CACHE, "--cache-bytes", str(cache.size * 9 // 10)] if cache else []
    return {
        "name": names.FETCH,
        "image": images.fetch,
        "imagePullPolicy": images.pull_policy,
        "command": ["python", "-m", "modelyard_fetch"],
        "args": [
            "--manifest", f"{environment.PLATFORM}/fetch/{MANIFEST}",
            "--into", into,
            "--last-words", "/dev/termination-log",
            *shares,
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"},
        },
        "securityContext": security,
        "volumeMounts": [
            {"name": into.removeprefix("/"), "mountPath": into},
            {"name": "fetch", "mountPath": f"{environment.PLATFORM}/fetch", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            *([{"name": "cache", "mountPath": _CACHE}] if cache else []),
        ],
    }  # fmt: skip


def shared(settings: Settings) -> list[dict[str, Any]]:
    """The volume that fetchers share, where there is one."""
    claim = {"claimName": names.CACHE}
    return [{"name": "cache", "persistentVolumeClaim": claim}] if settings.cache else []


def claim_of(project: str, namespace: str, cache: Cache) -> Manifest:
    """The claim of a project that its fetchers share."""
    storage = {"storageClassName": cache.storage_class} if cache.storage_class else {}
    return {
        "apiVersion": PERSISTENT_VOLUME_CLAIM.api_version,
        "kind": PERSISTENT_VOLUME_CLAIM.name,
        "metadata": {
            "name": names.CACHE,
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER, names.PROJECT: project},
        },
        "spec": {
            "accessModes": [cache.access],
            "resources": {"requests": {"storage": str(cache.size)}},
            **storage,
        },
    }


def containers(desired: Desired, fetch: str, check: str, security: dict[str, Any]) -> list[dict[str, Any]]:
    """What runs before the server: `fetch` and `check` name the manifests' objects, empty for none."""
    images, wanted, found = desired.settings.images, laid(desired), []
    if check and wanted:
        found.append(checker(images, wanted, security))
    if fetch:
        found.append(fetcher(desired.settings, security, into=BESIDE if wanted else environment.MODELS))
    return found


def checker(images: Images, wanted: ModelFiles, security: dict[str, Any]) -> dict[str, Any]:
    """What compares the volume `models` with the manifest of the volume `check`."""
    return {
        "name": names.CHECK,
        "image": images.fetch,
        "imagePullPolicy": images.pull_policy,
        "command": ["python", "-m", "modelyard_fetch", "check"],
        "args": [
            "--manifest", f"{_LAID}/{MANIFEST}",
            "--in", environment.MODELS,
            "--last-words", "/dev/termination-log",
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": security,
        "volumeMounts": [
            mount(wanted),
            {"name": "check", "mountPath": _LAID, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        ],
    }  # fmt: skip


def mounts(desired: Desired, fetch: str) -> list[dict[str, Any]]:
    """Where the server finds the model, and nothing of it to be changed."""
    wanted = laid(desired)
    found = [mount(wanted)] if wanted else []
    if fetch:
        path = BESIDE if wanted else environment.MODELS
        found.append({"name": path.removeprefix("/"), "mountPath": path, "readOnly": True})
    return found


def volumes(desired: Desired, fetch: str, check: str) -> list[dict[str, Any]]:
    """The volumes of the model and of what is to be fetched and compared."""
    wanted = laid(desired)
    found: list[dict[str, Any]] = []
    if fetch:
        found.append({"name": "variant" if wanted else "models", "emptyDir": {}})
        found.append({"name": "fetch", "secret": {"secretName": fetch}})
        found += shared(desired.settings)
    if wanted:
        found.append(volume_of(wanted))
    if check:
        found.append({"name": "check", "configMap": {"name": check}})
    return found


def volume_of(wanted: ModelFiles) -> dict[str, Any]:
    """The volume `models` that has the files already."""
    match wanted:
        case InClaim(claim):
            return {"name": "models", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        case InImage(reference):
            return {"name": "models", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}


def mount(wanted: ModelFiles) -> dict[str, Any]:
    """Where a container finds it, and nothing of it to be changed."""
    inside = {"subPath": wanted.folder} if wanted.folder else {}
    return {"name": "models", "mountPath": environment.MODELS, "readOnly": True, **inside}
