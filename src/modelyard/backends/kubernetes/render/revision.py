"""Everything of one revision: what belongs together and is applied in this order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard.backends import documents
from modelyard.backends.kubernetes import forms, names
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.gpus.fragment import Fragment
from modelyard.backends.kubernetes.gpus.merging import with_gpus
from modelyard.backends.kubernetes.gpus.wanted import gpus_of
from modelyard.backends.kubernetes.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    RESOURCE_CLAIM_TEMPLATE,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    Manifest,
)
from modelyard.backends.kubernetes.render import delivery, environment, pod, runtime
from modelyard.backends.kubernetes.render.budget import budget
from modelyard.backends.kubernetes.render.desired import Desired
from modelyard.backends.kubernetes.render.pod import Named
from modelyard.domain import health, program, texts
from modelyard.domain.deployment import Stage
from modelyard.domain.secret import SecretValues


def namespace(desired: Desired) -> Manifest:
    """Where the project's objects live; its pods must be restricted."""
    return namespace_of(desired.launch.key.project, desired.namespace)


def namespace_of(project: str, name: str) -> Manifest:
    """The namespace of a project."""
    found = {names.MANAGED_BY: names.MANAGER, names.PROJECT: project}
    security = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": {**found, **security, names.TENANT: "true"}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def account(desired: Desired) -> Manifest:
    """Who the project's replicas are to the cluster: nobody, with nothing to ask."""
    return account_of(desired.launch.key.project, desired.namespace)


def account_of(project: str, namespace: str) -> Manifest:
    """The account of a project's pods."""
    labels = {names.MANAGED_BY: names.MANAGER, names.PROJECT: project}
    return {
        "apiVersion": SERVICE_ACCOUNT.api_version,
        "kind": SERVICE_ACCOUNT.name,
        "metadata": {"name": "modelyard-runtime", "namespace": namespace, "labels": labels},
        "automountServiceAccountToken": False,
    }


def anchor(desired: Desired) -> Manifest:
    """What all objects of the deployment belong to: when it goes, they go, whoever is left to see to it."""
    key = desired.launch.key
    return _head(CONFIG_MAP, names.anchor_name(key), desired, {**names.labels(key), names.ANCHOR: "true"}) | {
        "data": {"project": key.project, "service": key.service}
    }


def revision(desired: Desired, capabilities: Capabilities, *, anchor_uid: str) -> tuple[Manifest, ...]:
    """The objects of a revision in the order of applying, without the number of its replicas."""
    fragment = gpus_of(desired.launch, capabilities)
    beside = _beside(desired, fragment)
    named = Named(
        account="modelyard-runtime",
        platform=_name_of(beside, "platform"),
        config=_name_of(beside, "config"),
        env=_name_of(beside, "env"),
        fetch=_name_of(beside, "fetch"),
        check=_name_of(beside, "check"),
        packages=_name_of(beside, "packages"),
        claim=_name_of(beside, "gpu"),
        secrets={name: _name_of(beside, _role(name)) for name in sorted(desired.launch.secrets)},
    )
    objects = [
        *beside.values(),
        _service(desired),
        _budget(desired),
        _deployment(desired, named, capabilities, fragment),
    ]
    owner = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": names.anchor_name(desired.launch.key),
        "uid": anchor_uid,
    }
    for each in objects:
        each["metadata"]["ownerReferences"] = [owner]
    return tuple(objects)


def _deployment(desired: Desired, named: Named, capabilities: Capabilities, fragment: Fragment) -> Manifest:
    launch = desired.launch
    template = pod.template(desired, named, capabilities)
    if scraped := _scraped(desired):
        template["metadata"]["annotations"] = template["metadata"].get("annotations", {}) | scraped
    manifest = _head(DEPLOYMENT, desired.name, desired, desired.labels) | {
        "spec": {
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": round(launch.spec.start_timeout_seconds) + 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": desired.labels},
            "template": with_gpus(template, fragment, claim=named.claim),
        }
    }
    # Not of what GPUs add: a card or a scheduler that comes later changes no replica that runs.
    # Nor of what secrets hold: other values come with a revision of their own.
    text = json.dumps([template, launch.spec.resources.gpu], sort_keys=True)
    for secret, name in named.secrets.items():
        text = text.replace(f'"{name}"', f'"{_role(secret)}"')
    digest = names.content_hash(text)
    manifest["metadata"]["annotations"] = {names.SPEC_HASH: digest, names.LAUNCH: json.dumps(_facts(desired))}
    return manifest


def _scraped(desired: Desired) -> dict[str, str]:
    """Where a Prometheus of the cluster finds the metrics of a server that is not Modelyard's own.

    Modelyard's own server gives its figures to the platform alone, which offers them to everybody.
    """
    server = desired.launch.program
    port, path = health.target(server.metrics) if server else (0, "")
    if server is None or not path or desired.launch.key.stage is Stage.DEBUG:
        return {}
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port or server.ports[0]),
        "prometheus.io/path": path,
    }


def _facts(desired: Desired) -> dict[str, Any]:
    """What observing a replica needs to know of how it was launched."""
    launch, server = desired.launch, desired.launch.program
    found = pod.ports(desired)
    metrics = server.metrics if server else launch.spec.metrics
    return {
        "cpu_millis": launch.cpu_millis,
        "memory_bytes": launch.memory_bytes,
        "ports": list(found),
        "own": server is None,
        "kept": server is not None or launch.spec.health.asks or launch.key.stage is Stage.DEBUG,
        "metrics": metrics,
        "start_seconds": launch.spec.start_timeout_seconds,
    }


def _service(desired: Desired) -> Manifest:
    """Leads to the pods of the revision that take requests."""
    found = zip(("http", "second"), pod.ports(desired), strict=False)
    return _head(SERVICE, desired.name, desired, desired.labels) | {
        "spec": {
            "type": "ClusterIP",
            "selector": {**desired.labels, names.TAKES_REQUESTS: "true"},
            "ports": [
                {"name": name, "port": 80 + index, "targetPort": port, "protocol": "TCP"}
                for index, (name, port) in enumerate(found)
            ],
        }
    }


def _budget(desired: Desired) -> Manifest:
    head = _head(POD_DISRUPTION_BUDGET, desired.name, desired, desired.labels)
    return head | {"spec": budget(desired.labels)}


def _beside(desired: Desired, fragment: Fragment) -> dict[str, Manifest]:
    """The maps and secrets that the pod reads, each named after what it holds and never changed."""
    found: dict[str, Manifest] = {}
    launch = desired.launch
    if launch.program is None:
        found["platform"] = _config_map(desired, "replica", {"replica.json": json.dumps(_replica(desired))})
    files = launch.program.files if launch.program else program.files(launch.spec)
    if files:
        known = environment.names_for_files(desired)
        found["config"] = _config_map(desired, "config", {n: texts.fill(t, known) for n, t in files.items()})
    found |= _private(desired)
    if fetched := delivery.fetched(desired):
        told = delivery.manifest(fetched, base=desired.settings.artifact_url)
        found["fetch"] = _secret(desired, "fetch", {delivery.MANIFEST: told})
    if compared := delivery.compared(desired):
        found["check"] = _config_map(desired, "check", {delivery.MANIFEST: delivery.manifest(compared)})
    if desired.lock:
        found["packages"] = _secret(desired, "packages", runtime.secret(_packages(desired)))
    if fragment.claim:
        found["gpu"] = _claim(desired, fragment)
    return found


def _private(desired: Desired) -> dict[str, Manifest]:
    """The Secrets with the user's environment, and with what it reads of the project's secrets."""
    env = environment.secrets(desired)
    found = {"env": _secret(desired, "env", env)} if env else {}
    for name, secret in sorted(desired.launch.secrets.items()):
        found[_role(name)] = _secret_of_project(desired, name, secret)
    return found


def _claim(desired: Desired, fragment: Fragment) -> Manifest:
    """What each of the revision's pods gets a claim of its own from; never changed."""
    digest = names.content_hash(json.dumps(fragment.claim, sort_keys=True))
    name = names.k8s_name(desired.name, "gpu", digest)
    return _head(RESOURCE_CLAIM_TEMPLATE, name, desired, desired.labels) | {"spec": {"spec": fragment.claim}}


def _replica(desired: Desired) -> dict[str, Any]:
    """replica.json: the same for all replicas of the revision; the pod's environment fills in the rest."""
    launch, settings = desired.launch, desired.settings
    home = Path("$(MODELYARD_MODEL_PATH)")
    guest = replace(
        launch.guest,
        path=home,
        variant_path=delivery.variant_path(desired, home),
        interpreter=runtime.interpreter(desired.lock),
    )
    start = documents.Start(
        address=f"0.0.0.0:{names.PORT}",
        state_path="$(MODELYARD_RUN_DIR)/state.json",
        work="$(MODELYARD_WORK_DIR)",
        worker="",
        env={},
        threads=environment.threads(launch.cpu_millis, launch.spec.workers),
        max_body_bytes=settings.max_body_bytes,
    )
    document = documents.of_replica(replace(launch, guest=guest, replica=""), start)
    document["worker"]["config"] = delivery.known(document["worker"]["config"])
    document["worker"]["inherit_env"] = True
    return {**document, "platform_sha256": settings.platform_sha256}


def _packages(desired: Desired) -> runtime.Packages:
    """What the runtime is made of when the pod starts."""
    settings, wheels = desired.settings, desired.wheels
    return runtime.Packages(
        lock=desired.lock,
        index_url=settings.index_url,
        wheels=None if wheels is None else runtime.lent(wheels, settings.artifact_url, desired.tokens),
    )


def _config_map(desired: Desired, role: str, data: Mapping[str, str | bytes]) -> Manifest:
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    packed = {key: forms.coded(value) for key, value in data.items() if isinstance(value, bytes)}
    found = {"data": texts} if texts else {}
    found |= {"binaryData": packed} if packed else {}
    name = names.k8s_name(desired.name, role, names.content_hash(json.dumps(texts | packed, sort_keys=True)))
    return _head(CONFIG_MAP, name, desired, desired.labels) | {"immutable": True, **found}


def _secret(desired: Desired, role: str, data: Mapping[str, str | bytes]) -> Manifest:
    plain = {key: value if isinstance(value, str) else forms.coded(value) for key, value in data.items()}
    name = names.k8s_name(desired.name, role, names.content_hash(json.dumps(plain, sort_keys=True)))
    coded = {key: forms.coded(value) for key, value in data.items()}
    return _head(SECRET, name, desired, desired.labels) | {"type": "Opaque", "immutable": True, "data": coded}


def _secret_of_project(desired: Desired, name: str, secret: SecretValues) -> Manifest:
    """What the revision may read of one of the project's secrets; its name tells nothing of the values."""
    coded = {key: forms.coded(value) for key, value in sorted(secret.values.items())}
    made = names.k8s_name(desired.name, _role(name), secret.mark)
    head = _head(SECRET, made, desired, desired.labels)
    return head | {"type": "Opaque", "immutable": True, "data": coded}


def _role(name: str) -> str:
    """What the Secret with values of one of the project's secrets is for."""
    return f"secret-{name}"


def _head(kind: Kind, name: str, desired: Desired, labels: dict[str, str]) -> Manifest:
    found = {names.MANAGED_BY: names.MANAGER, names.PROJECT: desired.launch.key.project} | labels
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": desired.namespace, "labels": found},
    }


def _name_of(beside: dict[str, Manifest], role: str) -> str:
    return str(beside[role]["metadata"]["name"]) if role in beside else ""
