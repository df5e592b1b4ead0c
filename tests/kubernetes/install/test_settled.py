"""Values that are settings: what is rendered is read back by the platform as the same, whoever renders it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import typing
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from modelyard import settings
from modelyard.artifacts import bucket
from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.composing import requiring
from modelyard.domain.errors import Invalid
from modelyard.installing import applying, chart, control_plane, rendering, settled, values
from tests.kubernetes.install.choices import CHOICES
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.kubelets import Part
from tests.support.cluster.running import running

SECRETS = {
    "access_key_id": "me",
    "secret_access_key": "s3cret",
    "session_token": "t",
    "url": "postgresql://d/b",
}
FOLLOWS = {
    "backend.kind", "gateway.external_ip", "gateway.second_port", "kubernetes.account", "kubernetes.api_port",
    "kubernetes.artifact_url", "kubernetes.fetch_image",
    "kubernetes.gateway_class", "kubernetes.lease",
    "kubernetes.namespace_prefix", "kubernetes.node_ports", "kubernetes.pull_policy",
    "kubernetes.pull_secret",
    "kubernetes.routers", "kubernetes.routing", "kubernetes.serving_image", "kubernetes.shown_host",
    "kubernetes.shown_https_port",
    "kubernetes.shown_port", "kubernetes.shown_second_port", "kubernetes.system_namespace", "server.domain",
    "server.host", "server.https_port", "server.insecure", "server.port", "server.public_url",
    "server.redirect_to_https", "store.url",
}  # fmt: skip
"""Settings that follow from values of other names."""
LEFT = {
    "artifacts.ca_file": "a file of the pod, which no value brings there",
    "artifacts.credentials_file": "a file of the pod; `artifacts.secret` gives the same keys",
    "gateway.port_base": "services' own ports follow `bind.node_ports`; where they begin seldom matters",
    "gateway.port_count": "the same",
    "gateway.refused_ports": "the same",
    "kubernetes.api_host": "a pod listens at all of its addresses",
    "kubernetes.context": "the pod's own account is used",
    "kubernetes.kubeconfig": "the pod's own account is used",
    "kubernetes.platform_cidrs": "of a platform outside the cluster",
    "kubernetes.registry": "images are named whole, by `images`",
    "limits.shared_memory": "of one machine: pods share none",
    "node.cpu": "of one machine",
    "node.gpus": "of one machine",
    "node.memory": "of one machine",
    "server.certificate": "a file of the pod; certificates are uploaded",
    "server.key": "a file of the pod; certificates are uploaded",
    "servers.tfserving": "of one machine: pods have images",
    "servers.torchserve": "of one machine: pods have images",
    "servers.triton": "of one machine: pods have images",
    "servers.vllm": "of one machine: pods have images",
}
"""Settings that are no values, and why; `control_plane.env` takes them."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("chart") / "modelyard"
    for name, text in chart.files().items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def plainly(choice: dict[str, Any], written: Path) -> Any:
    """The platform's Deployment as `render` prints it."""
    return _deployment(list(yaml.safe_load_all(rendering.as_yaml(rendering.manifests(values.of(choice))))))


def by_helm(choice: dict[str, Any], written: Path) -> Any:
    """The same as Helm makes it."""
    with helm_python.Chart.load(written) as loaded:
        loaded.validate_schema(choice)
        files = loaded.render(choice, name="modelyard", namespace="modelyard-system")
    return _deployment([yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")])


def installed(choice: dict[str, Any], written: Path) -> Any:
    """The same as it stands in a cluster after `install`."""

    async def run() -> Any:
        async with running() as server:
            quick = Part(starts_after=0, ready_after=0, stops_after=0)
            control = Control(server.cluster, script=lambda pod: quick)
            add_node(server.cluster, "one", cpu="32", memory="64Gi")
            living = asyncio.create_task(control.run())
            access = config.load({}, kubeconfig=str(server.kubeconfig(written)))
            cluster = Cluster(access, clock=time.time)
            try:
                made = rendering.manifests(values.of(choice))
                await applying.install(cluster, made, say=lambda _: None, timeout_seconds=60)
                return await cluster.get(kinds.DEPLOYMENT, "modelyard", namespace="modelyard-system")
            finally:
                await cluster.close()
                living.cancel()

    return asyncio.run(run())


def _deployment(manifests: list[Any]) -> Any:
    (found,) = (
        each
        for each in manifests
        if each and (each["kind"], each["metadata"]["name"]) == ("Deployment", "modelyard")
    )
    return found


def environment(deployment: Any) -> dict[str, str]:
    """What the process of the platform finds in its environment, as a kubelet makes it."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    found: dict[str, str] = {}
    for entry in container["env"]:
        assert entry["name"] not in found, entry["name"]
        source = entry.get("valueFrom") or {}
        if "secretKeyRef" in source:
            found[entry["name"]] = SECRETS.get(source["secretKeyRef"]["key"], "a password")
        elif "fieldRef" in source:
            found[entry["name"]] = "of the pod"
        else:
            found[entry["name"]] = entry.get("value") or ""
    return found


@pytest.mark.parametrize("way", [plainly, by_helm, installed], ids=["render", "helm", "install"])
@pytest.mark.parametrize(
    "name", ["defaults", "settled", "settled-otherwise", "several", "no-routers", "air-gap"]
)
def test_what_is_rendered_is_read_back_as_the_same(
    way: Any, name: str, written: Path, tmp_path: Path
) -> None:
    chosen = values.of(CHOICES[name])
    environ = environment(way(CHOICES[name], written))
    read = settings.load(tmp_path, environ, {}).settings
    asked = values.plain(chosen)
    for each in settled.names():
        section, _, key = each.partition(".")
        assert settings.values(read)[each] == asked[section][key], each
    for each in LEFT:
        assert settings.values(read)[each] == settings.values(settings.Settings())[each], each
    requiring.require(read)
    if chosen.artifacts.url or chosen.artifacts.sources:
        assert bucket.keys(read.artifacts, environ).access_key_id == "me"


def test_every_setting_is_a_value_or_follows_from_one_or_is_left_for_a_reason() -> None:
    said = {name for name in settings.names() if _variable(name) in _always()}
    assert said - {"store.url"} == FOLLOWS - {"store.url"}
    assert sorted([*settled.names(), *FOLLOWS, *LEFT]) == sorted(settings.names())


def _always() -> frozenset[str]:
    return control_plane.settings_written(values.plain(values.Values()))


def _variable(name: str) -> str:
    return f"MODELYARD_{settled.variable(name)}"


@pytest.mark.parametrize("name", settled.names())
def test_a_value_has_the_type_and_the_default_of_its_setting(name: str) -> None:
    section, _, key = name.partition(".")
    theirs = type(getattr(settings.Settings(), section))
    ours = settled.SECTIONS[section]
    assert typing.get_type_hints(ours)[key] == typing.get_type_hints(theirs)[key]
    assert getattr(ours(), key) == settled.default(name)


def test_sections_of_values_hold_settings_and_nothing_else_but_the_secret_of_the_bucket() -> None:
    keys = {
        f"{section}.{each.name}"
        for section, kind in settled.SECTIONS.items()
        for each in dataclasses.fields(kind)
    }
    assert keys - set(settled.names()) == {"artifacts.secret"}
    assert {each.name for each in dataclasses.fields(values.Values)} >= set(settled.SECTIONS)


WRONG = [
    ("kubernetes.cache_size", "lots", r"kubernetes.cache_size: 'lots' is not an amount of memory; write"),
    ("kubernetes.prometheus_url", "prometheus:9090", r"kubernetes.prometheus_url: must begin with http://"),
    (
        "kubernetes.gateway_pause_seconds",
        "-1",
        r"kubernetes.gateway_pause_seconds: must be seconds from 0 to",
    ),
    ("kubernetes.gateway_pause_seconds", ".nan", r"gateway_pause_seconds: "),
    ("kubernetes.cache_access", "ReadOnlyMany", r"kubernetes.cache_access: "),
    ("kubernetes.network_policies", "perhaps", r"kubernetes.network_policies: "),
    ("runtimes.offline", "perhaps", r"runtimes.offline: "),
    ("artifacts.url", "minio:9000", r"artifacts.url: `minio:9000` must be s3://BUCKET"),
    ("artifacts.sources", "s3://zoo /x", r"artifacts.sources: `/x` must be s3://BUCKET"),
    ("artifacts.endpoint", "minio:9000", r"artifacts.endpoint: must begin with http://"),
    ("limits.upload", "50GB!", r"limits.upload: '50GB!' is not an amount of memory"),
    ("limits.request", "-1", r"limits.request: '-1' is not an amount of memory"),
    ("limits.test_timeout_seconds", "0", r"limits.test_timeout_seconds: must be seconds from 0.1"),
    ("limits.tasks", "-1", r"limits.tasks: must be from 0 to 10000, got -1"),
    ("limits.queue_seconds", "-1", r"limits.queue_seconds: must be seconds from 0 to"),
    ("limits.queue_seconds", ".nan", r"limits.queue_seconds: must be seconds from 0 to"),
    ("limits.queue_seconds", "3601", r"limits.queue_seconds: must be seconds from 0 to 3600"),
    ("kubernetes.cluster_queue", "Research", r"kubernetes.cluster_queue: 'Research' is no name of a C"),
    ("kubernetes.drain_wait_seconds", "301", r"drain_wait_seconds: must be seconds from 0 to 300, got 301"),
    ("scaling.time_zone", "Mars/Olympus", r"scaling.time_zone: 'Mars/Olympus' is not a time zone"),
]


@pytest.mark.parametrize(("name", "said", "message"), WRONG, ids=[f"{n}={s}" for n, s, _ in WRONG])
def test_installer_and_platform_refuse_the_same_in_the_same_words(
    name: str, said: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(Invalid, match=message) as ours:
        rendering.manifests(values.load((), [f"{name}={said}", "artifacts.secret=s"]))
    environ = {_variable(name): "nan" if said == ".nan" else said}
    with pytest.raises(Invalid, match=message) as theirs:
        requiring.require(settings.load(tmp_path, environ, {}).settings)
    (error,) = (each for each in theirs.value.errors if each.path == name)
    said_by_loader = error.message.partition(" (from environment")[0]
    assert said_by_loader in {each.message for each in ours.value.errors if each.path == name}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runtimes.wheels=wheels"], r"runtimes.wheels: must be a directory below /data, such as /data/w"),
        (["runtimes.wheels=/srv/wheels"], r"runtimes.wheels: must be a directory below /data"),
        (["runtimes.wheels=/data"], r"runtimes.wheels: must be a directory below /data"),
        (["runtimes.wheels=/data/../etc"], r"runtimes.wheels: must be a directory below /data"),
        (["artifacts.secret=s"], r"artifacts.secret: nothing needs its keys; set artifacts.url or"),
        (["artifacts.url=s3://models"], r"artifacts.secret: must name a Secret with the keys access_key_id"),
        (["kubernetes.cache=1"], r"kubernetes.cache: "),
        (["runtimes.index_url=https://me:s3cret@pypi.example"], r"runtimes.index_url: .*secretKeyRef"),
        (
            [
                "runtimes.wheels=/data/wheels",
                "control_plane.env=[{name: MODELYARD_RUNTIMES__WHEELS, value: /x}]",
            ],
            r"MODELYARD_RUNTIMES__WHEELS follows from other values",
        ),
        (
            [
                "artifacts.url=s3://models", "artifacts.secret=s",
                "control_plane.env=[{name: AWS_ACCESS_KEY_ID, value: me}]",
            ],
            r"AWS_ACCESS_KEY_ID follows from other values",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_in_an_installation_is_named_with_the_remedy(words: list[str], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        rendering.manifests(values.load((), words))


def test_several_control_planes_share_the_directory_of_wheels() -> None:
    choice = {**CHOICES["several"], "runtimes": {"wheels": "/data/wheels/cp311"}}
    pod = _deployment(list(rendering.manifests(values.of(choice))))["spec"]["template"]["spec"]
    mounts = {each["mountPath"]: each for each in pod["containers"][0]["volumeMounts"]}
    assert mounts["/data/wheels"] == {"name": "data", "mountPath": "/data/wheels", "subPath": "wheels"}
    with pytest.raises(
        Invalid, match=r"runtimes.wheels: several control planes share /data/wheels, and not /data/w"
    ):
        rendering.manifests(values.of({**choice, "runtimes": {"wheels": "/data/w"}}))


def test_a_setting_that_is_still_in_the_environment_is_taken_as_before(tmp_path: Path) -> None:
    env = [{"name": "MODELYARD_KUBERNETES__CACHE_SIZE", "value": "5Gi"}]
    found = environment(plainly({"control_plane": {"env": env}}, tmp_path))
    assert settings.load(tmp_path, found, {}).settings.kubernetes.cache_size == "5Gi"


def test_keys_of_a_bucket_stand_in_a_secret_only() -> None:
    text = rendering.as_yaml(rendering.manifests(values.of(CHOICES["settled"])))
    (container,) = _deployment(list(yaml.safe_load_all(text)))["spec"]["template"]["spec"]["containers"]
    entries = {each["name"]: each for each in container["env"] if each["name"].startswith("AWS_")}
    assert {name: each["valueFrom"]["secretKeyRef"] for name, each in entries.items()} == {
        "AWS_ACCESS_KEY_ID": {"name": "minio", "key": "access_key_id"},
        "AWS_SECRET_ACCESS_KEY": {"name": "minio", "key": "secret_access_key"},
        "AWS_SESSION_TOKEN": {"name": "minio", "key": "session_token", "optional": True},
    }
