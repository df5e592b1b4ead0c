"""Kubeconfig files of every sort, and the pod's own service account."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.config import Access, Certificate
from modelyard.domain.errors import Invalid

PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def document(
    cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://c:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
        **more,
    }


def load(
    tmp_path: Path, document: Any, *, context: str = "", environ: dict[str, str] | None = None
) -> Access:
    path = tmp_path / "config"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return config.load(environ or {}, kubeconfig=str(path), context=context)


def test_a_plain_one(tmp_path: Path) -> None:
    found = load(tmp_path, document())
    assert found == Access(server="https://c:6443", context="x")


def test_everything_about_the_cluster(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    cluster = {
        "server": "https://10.0.0.1:6443/",
        "certificate-authority": "ca.pem",
        "tls-server-name": "kubernetes",
        "proxy-url": "socks5://proxy:1080",
        "insecure-skip-tls-verify": True,
        "disable-compression": True,
    }
    found = load(tmp_path, document(cluster))
    assert (found.server, found.ca, found.tls_server_name) == ("https://10.0.0.1:6443", PEM, "kubernetes")
    assert (found.proxy, found.insecure, found.compression) == ("socks5://proxy:1080", True, False)
    # What stands in the file itself counts before what it names.
    both = {**cluster, "certificate-authority-data": encoded("other")}
    assert load(tmp_path, document(both)).ca == "other"


def test_every_way_to_say_who_one_is(tmp_path: Path) -> None:
    assert load(tmp_path, document(user={"token": "t"})).token == "t"
    by_file = load(tmp_path, document(user={"token": "t", "tokenFile": "token"}))
    assert (by_file.token, by_file.token_file) == ("", tmp_path / "token")
    assert load(tmp_path, document(user={"username": "a", "password": "b"})).basic == ("a", "b")
    data = {"client-certificate-data": encoded("cert"), "client-key-data": encoded("key")}
    assert load(tmp_path, document(user=data)).certificate == Certificate(chain="cert", key="key")
    acting = {"as": "me", "as-uid": "1", "as-groups": ["staff"]}
    assert load(tmp_path, document(user=acting)).impersonate == {
        "Impersonate-User": "me",
        "Impersonate-Uid": "1",
        "Impersonate-Group": "staff",
    }


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    user = {"token": "hunter2", "username": "a", "password": "hunter2"}
    user |= {"client-certificate-data": encoded("cert"), "client-key-data": encoded("hunter2")}
    assert "hunter2" not in repr(load(tmp_path, document(user=user)))


def test_plugins(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./bin/login",
        "args": ["--quiet"],
        "env": [{"name": "REGION", "value": "x"}],
        "interactiveMode": "IfAvailable",
        "provideClusterInfo": True,
        "installHint": "install it",
    }
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    cluster = {"certificate-authority-data": encoded(PEM), "extensions": extensions}
    found = load(tmp_path, document(cluster, {"exec": plugin}), environ={"PATH": "/bin", "REGION": "y"})
    assert found.exec is not None
    assert found.exec.command == (str(tmp_path / "bin" / "login"), "--quiet")
    assert found.exec.env == {"PATH": "/bin", "REGION": "x"}
    assert found.exec.cluster_info == {
        "server": "https://c:6443",
        "config": {"audience": "a"},
        "certificate-authority-data": encoded(PEM),
    }


def test_other_contexts(tmp_path: Path) -> None:
    contexts = [
        {"name": "x", "context": {"cluster": "c", "user": "u"}},
        {"name": "y", "context": {"cluster": "c", "namespace": "there"}},
    ]
    found = load(tmp_path, document(contexts=contexts), context="y")
    assert (found.context, found.namespace, found.token) == ("y", "there", "")


def test_several_files_are_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "config", tmp_path / "two" / "config"
    for path in (one, two):
        path.parent.mkdir()
    first = document({"certificate-authority": "ca.pem"}, contexts=[]) | {"current-context": ""}
    one.write_text(yaml.safe_dump(first))
    (one.parent / "ca.pem").write_text("of one")
    two.write_text(yaml.safe_dump(document({"server": "https://ignored"}, {"token": "ignored"})))
    environ = {"KUBECONFIG": f"{one}:{tmp_path / 'missing'}:{two}"}
    found = config.load(environ)
    assert (found.server, found.ca, found.token, found.context) == ("https://c:6443", "of one", "", "x")


def test_the_usual_file(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(yaml.safe_dump(document()))
    assert config.load({"HOME": str(tmp_path)}).server == "https://c:6443"


def test_inside_of_a_pod(tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name, text in (("token", "t"), ("ca.crt", PEM), ("namespace", "modelyard-system\n")):
        (account / name).write_text(text)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443", "HOME": str(tmp_path)}
    found = config.load(environ, service_account=account)
    assert found == Access(
        server="https://[fd00::1]:443",
        namespace="modelyard-system",
        context="in-cluster",
        ca=PEM,
        token_file=account / "token",
        inside=True,
    )
    # Who names a file means it.
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document()))
    named = config.load(environ, kubeconfig=str(path), service_account=account)
    assert (named.context, named.inside) == ("x", False)
    (account / "ca.crt").unlink()
    with pytest.raises(Invalid, match="not whole"):
        config.load(environ, service_account=account)


MISTAKES: list[tuple[Any, str, str]] = [
    ("{", "", "is not YAML"),
    ("hello", "", "is not a kubeconfig"),
    ("", "", "is not a kubeconfig"),
    ({"clusters": {"a": 1}}, "", "clusters is not a list"),
    ({"clusters": ["a"]}, "", "clusters holds something"),
    (document() | {"current-context": ""}, "", "no current-context; name one of x"),
    (document(), "z", "called z, which is none of x"),
    (document(clusters=[]), "", "called c, which is none of none"),
    (document(users=[]), "", "the user of context x .* called u"),
    (document({"server": ""}), "", "is no URL: empty"),
    (document({"server": "c:6443"}), "", "is no URL: c:6443"),
    (document({"proxy-url": "proxy:3128"}), "", "proxy-url proxy:3128 is none of http://"),
    (document({"certificate-authority": "missing"}), "", "certificate-authority cannot be read"),
    (document({"certificate-authority-data": "%%"}), "", "certificate-authority-data is not PEM in base64"),
    (document(user={"client-certificate-data": encoded("x")}), "", "half of a certificate"),
    (document(user={"auth-provider": {"name": "gcp"}}), "", "auth-provider was taken out"),
    (document(user={"as-groups": ["a", "b"]}), "", "one group"),
    (document(user={"exec": {"command": "x"}}), "", "apiVersion nothing"),
    (document(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}), "", "no command"),
    (
        document(
            user={
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "x",
                    "interactiveMode": "Always",
                }
            }
        ),
        "",
        "nobody is there",
    ),
]


@pytest.mark.parametrize(("written", "context", "words"), MISTAKES)
def test_mistakes_name_the_file_and_the_setting(
    tmp_path: Path, written: Any, context: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words) as told:
        load(tmp_path, written, context=context)
    assert str(tmp_path) in told.value.message
    assert told.value.errors[0].path in ("kubernetes.kubeconfig", "kubernetes.context")


def test_no_cluster_at_all(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no cluster is known"):
        config.load({"HOME": str(tmp_path)})
    with pytest.raises(Invalid, match="there is no such file"):
        config.load({"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "no")})
    with pytest.raises(Invalid, match="cannot be read"):
        config.load({}, kubeconfig=str(tmp_path / "no"))
