"""Where the API server is and who we are to it: a kubeconfig file, or the pod that we run in."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard.domain import documents
from modelyard.domain.errors import FieldError, Invalid

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_FILE = "kubernetes.kubeconfig"
_CONTEXT = "kubernetes.context"
_PROXIES = ("http://", "https://", "socks5://", "socks5h://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A client certificate and its key, both in PEM."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """A program that prints credentials (client.authentication.k8s.io)."""

    api_version: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Its whole environment."""
    install_hint: str = ""
    cluster_info: Mapping[str, Any] | None = None
    """What the program is told of the cluster, when it wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach one API server, and as whom."""

    server: str
    namespace: str = "default"
    """Of the context, for whoever names none."""
    context: str = ""
    inside: bool = False
    """Whether we are a pod of that cluster, by its own account."""
    ca: str = ""
    """What to trust, in PEM; empty is what the machine trusts."""
    insecure: bool = False
    """Trust anybody."""
    tls_server_name: str = ""
    """The name in the server's certificate, where it is not that of the URL."""
    proxy: str = ""
    compression: bool = True
    certificate: Certificate | None = None
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    """Read again and again, since its content is renewed."""
    basic: tuple[str, str] | None = field(default=None, repr=False)
    exec: Exec | None = None
    impersonate: Mapping[str, str] = field(default_factory=dict)
    """Headers that say whose rights to use instead of our own."""


def load(
    environ: Mapping[str, str],
    *,
    kubeconfig: str = "",
    context: str = "",
    service_account: Path = SERVICE_ACCOUNT,
) -> Access:
    """The access that a file's context gives; without a file, the pod's own, else the usual files.

    Raises Invalid that names the file and what is wrong with it.
    """
    host = environ.get("KUBERNETES_SERVICE_HOST")
    if not kubeconfig and not context and host and (service_account / "token").exists():
        return _in_cluster(host, environ.get("KUBERNETES_SERVICE_PORT", "443"), service_account)
    return from_files(_files(environ, kubeconfig), environ, context=context)


def from_files(paths: tuple[Path, ...], environ: Mapping[str, str], *, context: str = "") -> Access:
    """The access of a context of these files; of two entries with one name the first counts."""
    merged = _Merged()
    for path in paths:
        merged.add(path, _document(path))
    where = ", ".join(map(str, paths))
    chosen = context or merged.current
    if not chosen:
        raise _invalid(_CONTEXT, f"{where} has no current-context; name one of {merged.names('contexts')}")
    found = merged.entry("contexts", chosen, f"the context of {where}", _CONTEXT)
    cluster_name, user_name = str(found.value.get("cluster", "")), str(found.value.get("user", ""))
    cluster = merged.entry("clusters", cluster_name, f"the cluster of context {chosen} in {where}", _FILE)
    user = (
        merged.entry("users", user_name, f"the user of context {chosen} in {where}", _FILE)
        if user_name
        else _Entry(cluster.path, {})
    )
    access = _access(chosen, cluster, user)
    return replace(
        access,
        namespace=str(found.value.get("namespace") or "default"),
        exec=_exec(user, cluster, environ) if user.value.get("exec") else None,
    )


def _in_cluster(host: str, port: str, account: Path) -> Access:
    address = f"[{host}]" if ":" in host else host
    try:
        ca = (account / "ca.crt").read_text()
    except OSError as error:
        raise _invalid(_FILE, f"this pod's service account is not whole: {error}") from None
    named = account / "namespace"
    return Access(
        server=f"https://{address}:{port}",
        namespace=named.read_text().strip() if named.exists() else "default",
        context="in-cluster",
        inside=True,
        ca=ca,
        token_file=account / "token",
    )


def _files(environ: Mapping[str, str], kubeconfig: str) -> tuple[Path, ...]:
    if kubeconfig:
        return (Path(kubeconfig).expanduser(),)
    listed = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(":") if part]
    there = tuple(path for path in listed if path.exists())
    if listed and not there:
        raise _invalid(_FILE, f"KUBECONFIG names {', '.join(map(str, listed))}, and there is no such file")
    usual = Path(environ.get("HOME") or Path.home()) / ".kube" / "config"
    if not there and not usual.exists():
        raise _invalid(
            _FILE, f"no cluster is known: there is no {usual}, no KUBECONFIG is set, and this is not a pod"
        )
    return there or (usual,)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Part of a kubeconfig, and the file that it stands in."""

    path: Path
    value: Mapping[str, Any]

    def text(self, name: str) -> str:
        return str(self.value.get(name) or "")

    def file(self, name: str) -> Path | None:
        """The file that a field names, seen from the kubeconfig."""
        return self.path.parent / self.text(name) if self.text(name) else None

    def content(self, name: str) -> str:
        """PEM out of `NAME-data`, else out of the file that `NAME` names; empty for neither."""
        data, path = self.text(f"{name}-data"), self.file(name)
        if data:
            try:
                return base64.b64decode(data, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise _invalid(_FILE, f"{self.path}: {name}-data is not PEM in base64") from None
        if path is None:
            return ""
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise _invalid(_FILE, f"{self.path}: {name} cannot be read: {error}") from None


@dataclass(slots=True)
class _Merged:
    """Several kubeconfig files as one."""

    current: str = ""
    parts: dict[str, dict[str, _Entry]] = field(default_factory=dict)

    def add(self, path: Path, document: Mapping[str, Any]) -> None:
        self.current = self.current or str(document.get("current-context") or "")
        for part, inner in (("contexts", "context"), ("clusters", "cluster"), ("users", "user")):
            for each in document.get(part) or ():
                if not isinstance(each, Mapping) or not isinstance(each.get(inner) or {}, Mapping):
                    raise _invalid(_FILE, f"{path}: {part} holds something that is not an entry with a name")
                entry = _Entry(path, each.get(inner) or {})
                self.parts.setdefault(part, {}).setdefault(str(each.get("name", "")), entry)

    def names(self, part: str) -> str:
        return ", ".join(sorted(self.parts.get(part, {}))) or "none, as there is none"

    def entry(self, part: str, name: str, what: str, setting: str) -> _Entry:
        try:
            return self.parts.get(part, {})[name]
        except KeyError:
            message = f"{what} is called {name or 'nothing'}, which is none of {self.names(part)}"
            raise _invalid(setting, message) from None


def _document(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(_FILE, f"{path} cannot be read: {error}") from None
    try:
        found = documents.one(text, _FILE)
    except Invalid as error:
        raise _invalid(_FILE, f"{path} is not YAML: {error.errors[0].message}") from None
    if not isinstance(found, Mapping):
        raise _invalid(_FILE, f"{path} is not a kubeconfig: it has no clusters, users and contexts")
    for part in ("contexts", "clusters", "users"):
        if not isinstance(found.get(part) or [], list):
            raise _invalid(_FILE, f"{path}: {part} is not a list")
    return found


def _access(context: str, cluster: _Entry, user: _Entry) -> Access:
    server = cluster.text("server").rstrip("/")
    if not _is_url(server):
        raise _invalid(
            _FILE, f"{cluster.path}: the server of context {context} is no URL: {server or 'empty'}"
        )
    proxy = cluster.text("proxy-url")
    if proxy and not proxy.startswith(_PROXIES):
        raise _invalid(_FILE, f"{cluster.path}: proxy-url {proxy} is none of {', '.join(_PROXIES)}…")
    if user.value.get("auth-provider"):
        message = "auth-provider was taken out of Kubernetes; use an exec plugin or a token"
        raise _invalid(_FILE, f"{user.path}: the user of context {context} has an {message}")
    chain, key = user.content("client-certificate"), user.content("client-key")
    if bool(chain) != bool(key):
        raise _invalid(_FILE, f"{user.path}: the user of context {context} has half of a certificate and key")
    return Access(
        server=server,
        context=context,
        ca=cluster.content("certificate-authority"),
        insecure=bool(cluster.value.get("insecure-skip-tls-verify")),
        tls_server_name=cluster.text("tls-server-name"),
        proxy=proxy,
        compression=not cluster.value.get("disable-compression"),
        certificate=Certificate(chain=chain, key=key) if chain else None,
        token=user.text("token") if not user.text("tokenFile") else "",
        token_file=user.file("tokenFile"),
        basic=(user.text("username"), user.text("password")) if user.text("username") else None,
        impersonate=_impersonated(user),
    )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _exec(user: _Entry, cluster: _Entry, environ: Mapping[str, str]) -> Exec:
    plugin = user.value["exec"]
    if not isinstance(plugin, Mapping) or not plugin.get("command"):
        raise _invalid(_FILE, f"{user.path}: exec names no command")
    version = str(plugin.get("apiVersion", ""))
    if version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        message = f"exec has apiVersion {version or 'nothing'}; v1 and v1beta1 are known"
        raise _invalid(_FILE, f"{user.path}: {message}")
    if plugin.get("interactiveMode") == "Always":
        message = f"exec {plugin['command']} wants to ask a person, and nobody is there"
        raise _invalid(_FILE, f"{user.path}: {message}; use a token or another plugin")
    command = str(plugin["command"])
    if "/" in command:
        command = str(user.path.parent / command)
    info = None
    if plugin.get("provideClusterInfo"):
        info = {"server": cluster.text("server"), "config": _extension(cluster)}
        ca = cluster.content("certificate-authority")
        if ca:
            info["certificate-authority-data"] = base64.b64encode(ca.encode()).decode()
    return Exec(
        api_version=version,
        command=(command, *map(str, plugin.get("args") or ())),
        env={**environ, **{str(each["name"]): str(each["value"]) for each in plugin.get("env") or ()}},
        install_hint=str(plugin.get("installHint") or ""),
        cluster_info=info,
    )


def _extension(cluster: _Entry) -> Any:
    """What the cluster's entry holds for exec plugins."""
    for each in cluster.value.get("extensions") or ():
        if each.get("name") == "client.authentication.k8s.io/exec":
            return each.get("extension")
    return None


def _impersonated(user: _Entry) -> dict[str, str]:
    headers = {"Impersonate-User": user.text("as"), "Impersonate-Uid": user.text("as-uid")}
    groups = [str(each) for each in user.value.get("as-groups") or ()]
    if len(groups) > 1:
        raise _invalid(_FILE, f"{user.path}: as-groups may name one group here, not {len(groups)}")
    return {
        name: value for name, value in (headers | {"Impersonate-Group": "".join(groups)}).items() if value
    }


def _invalid(setting: str, message: str) -> Invalid:
    return Invalid(message, errors=[FieldError(setting, message)])
