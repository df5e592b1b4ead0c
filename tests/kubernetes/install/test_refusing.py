"""What the platform or the API server would refuse is refused before anything is applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard import settings
from modelyard.composing import requiring
from modelyard.domain.errors import Invalid
from modelyard.installing import rendering, values

PLATFORM = [
    ("domain", "server.domain", "", "'' is no host; write a domain"),
    ("domain", "server.domain", "a b/c", "is no host; write a domain"),
    ("domain", "server.domain", "ML.Example.org", "has upper case; write `ml.example.org`"),
    ("public_url", "server.public_url", "ml.example.org", "must begin with http:// or https://"),
    ("public_url", "server.public_url", "https://", "names no host"),
    ("public_url", "server.public_url", "https://[::1", "names no host"),
    ("public_url", "server.public_url", "https://ml.example.org:99999", "names no host"),
    ("public_url", "server.public_url", "https://me:s3cret@ml.example.org", "leave them out"),
    ("bind.external_ip", "gateway.external_ip", "a b", "is neither an IP address or name"),
    ("bind.node_ports", "kubernetes.node_ports", "40000-30000", "must be FIRST-LAST"),
    ("bind.node_ports", "kubernetes.node_ports", "0-99999", "must be FIRST-LAST"),
]


@pytest.mark.parametrize(("value", "setting", "said", "message"), PLATFORM)
def test_what_the_platform_would_refuse_is_refused_in_its_words(
    value: str, setting: str, said: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(Invalid) as ours:
        rendering.manifests(values.load((), [f"{value}={said}"]))
    environ = {f"MODELYARD_{setting.upper().replace('.', '__')}": said}
    environ |= {"MODELYARD_BACKEND__KIND": "kubernetes", "MODELYARD_KUBERNETES__ROUTERS": "true"}
    with pytest.raises(Invalid) as theirs:
        requiring.require(settings.load(tmp_path, environ, {}).settings)
    (words,) = (each.message for each in theirs.value.errors if each.path == setting)
    assert message in words
    assert "s3cret" not in f"{ours.value}{theirs.value}"
    assert [each.message for each in ours.value.errors if each.path == value] == [words]


@pytest.mark.parametrize(
    ("words", "path", "message"),
    [
        (["namespace=Foo_Bar"], "namespace", "use 1 to 63 lower-case letters"),
        (["namespace_prefix=../X"], "namespace_prefix", "use 1 to 63 lower-case letters"),
        (["storage.size=abc"], "storage.size", "is not an amount of memory"),
        (["storage.size=0"], "storage.size", "must be more than nothing"),
        (["control_plane.cpu=-1"], "control_plane.cpu", "is not an amount of CPU"),
        (["control_plane.memory=1 GB"], "control_plane.memory", "is not an amount of memory"),
        (["routers.cpu=lots"], "routers.cpu", "is not an amount of CPU"),
        (["routers.memory=lots"], "routers.memory", "is not an amount of memory"),
        (["bind.kind=HostPort", "bind.ip=nonsense"], "bind.ip", "is no IP address"),
        (["images.registry="], "images.registry", "names no images"),
        (["images.registry=UPPER CASE"], "images.registry", "names no images"),
        (["images.registry=https://registry.local"], "images.registry", "names no images"),
        (["images.tag=a b"], "images.tag", "is no tag"),
        (["images.serving=Own Image"], "images.serving", "names no image"),
        (["images.pull_secret=Pull_Secret"], "images.pull_secret", "is no name of a Secret"),
        (["database.secret=a/b"], "database.secret", "is no name of a Secret"),
        (["artifacts.url=s3://models", "artifacts.secret=a b"], "artifacts.secret", "is no name of a Secret"),
        (["storage.class_name=Fast Disk"], "storage.class_name", "is no name of a StorageClass"),
        (["kubernetes.cache_class=a_b"], "kubernetes.cache_class", "is no name of a StorageClass"),
        (["gateway_class=x y"], "gateway_class", "is no name of a GatewayClass"),
        (["runtimes.index_url=ftp://x"], "runtimes.index_url", "must begin with http:// or https://"),
        (["runtimes.index_url=http://[::1"], "runtimes.index_url", "names no host"),
        (["control_plane.env=[{name: A, value: 5}]"], "control_plane.env", "A has a value that is no text"),
        (["control_plane.env=[{name: A, value: true}]"], "control_plane.env", 'write "true"'),
        (
            ["control_plane.env=[{name: A, value: x}, {name: A, value: y}]"],
            "control_plane.env",
            "A is there twice",
        ),
        (["control_plane.env=[{name: a b, value: x}]"], "control_plane.env", "is no name of a variable"),
        (["control_plane.env=[{name: A, valueFrom: x}]"], "control_plane.env", "A has a valueFrom that is"),
        (["control_plane.env=[{name: A, value: x, valueFrom: {}}]"], "control_plane.env", "not both"),
        (["control_plane.env=[{name: A, text: x}]"], "control_plane.env", "A has text"),
        (
            ["control_plane.env=[{name: MODELYARD_SERVER__PROT, value: x}]"],
            "server.prot",
            "Unexpected keyword argument",
        ),
        (
            ["control_plane.env=[{name: MODELYARD_GATEWAY__PORT_BASE, value: '40000'}]"],
            "gateway.port_base",
            "40000 is not in the cluster's range of node ports",
        ),
    ],
)
def test_what_the_api_server_would_refuse_is_named_with_the_remedy(
    words: list[str], path: str, message: str
) -> None:
    with pytest.raises(Invalid) as refused:
        rendering.manifests(values.load((), words))
    found = {each.path: each.message for each in refused.value.errors}
    assert message in found[path], found
    assert len(refused.value.errors) == 1, found


@pytest.mark.parametrize(
    "words",
    [
        ["domain=ml.example.org", "public_url=https://ml.example.org/", "bind.external_ip=10.0.0.1|ml.org"],
        ["public_url=http://[fd00::1]:30080", "bind.kind=HostPort", "bind.ip=fd00::1", "bind.http_port=80"],
        ["images.registry=Registry.local:5000/my/own", "images.tag=1.2_3", "images.serving=serving-cuda"],
        ["storage.size=1.5Ti", "control_plane.cpu=0.25", "routers.memory=512M"],
        ["control_plane.env=[{name: A, value: ''}, {name: b.c-d}, {name: C, valueFrom: {fieldRef: {}}}]"],
        ["runtimes.index_url=https://pypi.example/simple", "gateway_class=eg.example"],
    ],
)
def test_what_a_cluster_takes_is_let_through(words: list[str]) -> None:
    assert rendering.manifests(values.load((), words))
