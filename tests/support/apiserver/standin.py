"""Programs that take the flags of `etcd` and `kube-apiserver`, for machines that have neither.

`made` writes them into a directory. `etcd` only answers that it is well; `kube-apiserver` checks its flags,
serves the cluster of the tests over TLS to owners of certificates, and lets others do what their roles allow.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ETCD_FLAGS = _words(
    """
    name data-dir wal-dir snapshot-count heartbeat-interval election-timeout listen-peer-urls
    listen-client-urls max-snapshots max-wals quota-backend-bytes max-request-bytes
    initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token
    advertise-client-urls auto-compaction-retention auto-compaction-mode cert-file key-file
    client-cert-auth trusted-ca-file peer-cert-file peer-key-file peer-client-cert-auth
    peer-trusted-ca-file logger log-outputs log-level listen-metrics-urls metrics unsafe-no-fsync
    force-new-cluster
    """
)
APISERVER_FLAGS = _words(
    """
    admission-control-config-file advertise-address allow-privileged anonymous-auth api-audiences
    audit-log-maxage audit-log-path audit-policy-file authentication-config
    authentication-token-webhook-config-file authorization-config authorization-mode
    authorization-webhook-config-file bind-address cert-dir client-ca-file contention-profiling
    cors-allowed-origins default-not-ready-toleration-seconds default-unreachable-toleration-seconds
    default-watch-cache-size delete-collection-workers disable-admission-plugins disabled-metrics
    egress-selector-config-file emulated-version enable-admission-plugins enable-aggregator-routing
    enable-bootstrap-token-auth enable-garbage-collector enable-priority-and-fairness
    encryption-provider-config endpoint-reconciler-type etcd-cafile etcd-certfile
    etcd-compaction-interval etcd-count-metric-poll-period etcd-db-metric-poll-interval
    etcd-healthcheck-timeout etcd-keyfile etcd-prefix etcd-readycheck-timeout etcd-servers
    etcd-servers-overrides event-ttl external-hostname feature-gates goaway-chance
    http2-max-streams-per-connection kubelet-certificate-authority kubelet-client-certificate
    kubelet-client-key kubelet-port kubelet-preferred-address-types kubelet-timeout
    lease-reuse-duration-seconds livez-grace-period logging-format max-connection-bytes-per-sec
    max-mutating-requests-inflight max-requests-inflight min-request-timeout oidc-issuer-url
    peer-advertise-ip permit-address-sharing permit-port-sharing profiling proxy-client-cert-file
    proxy-client-key-file request-timeout requestheader-allowed-names requestheader-client-ca-file
    requestheader-extra-headers-prefix requestheader-group-headers requestheader-username-headers
    runtime-config secure-port service-account-extend-token-expiration service-account-issuer
    service-account-jwks-uri service-account-key-file service-account-lookup
    service-account-max-token-expiration service-account-signing-key-file service-cluster-ip-range
    service-node-port-range show-hidden-metrics-for-version shutdown-delay-duration storage-backend
    storage-media-type strict-transport-security-directives tls-cert-file tls-cipher-suites
    tls-min-version tls-private-key-file tls-sni-cert-key token-auth-file tracing-config-file v
    vmodule watch-cache watch-cache-sizes
    """
)
_MUST = (
    "etcd-servers",
    "service-account-issuer",
    "service-account-key-file",
    "service-account-signing-key-file",
)
_FILES = ("client-ca-file", "tls-cert-file", "tls-private-key-file", *_MUST[2:])
_PLUGINS = _words(
    """
    AlwaysPullImages DefaultStorageClass DefaultTolerationSeconds LimitRanger
    MutatingAdmissionWebhook NamespaceLifecycle NodeRestriction PersistentVolumeClaimResize
    PodSecurity Priority ResourceQuota RuntimeClass ServiceAccount StorageObjectInUseProtection
    TaintNodesByCondition ValidatingAdmissionPolicy ValidatingAdmissionWebhook
    """
)
_MODES = frozenset({"AlwaysAllow", "AlwaysDeny", "ABAC", "Webhook", "RBAC", "Node"})


class BadFlags(Exception):
    """What the program says before it ends."""


def made(directory: Path) -> Path:
    """A directory with both programs."""
    directory.mkdir(parents=True)
    for name, module in (("etcd", "storing"), ("kube-apiserver", "serving")):
        path = directory / name
        python, place = shlex.quote(sys.executable), shlex.quote(str(ROOT))
        path.write_text(
            f'#!/bin/sh\nPYTHONPATH={place} exec {python} -m tests.support.apiserver.{module} "$@"\n'
        )
        path.chmod(0o755)
    return directory


def parsed(words: Iterable[str], known: frozenset[str]) -> dict[str, str]:
    """Flags as these programs read them; BadFlags for one that they do not have."""
    found = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not equals:
            raise BadFlags(f"this stand-in reads --NAME=VALUE, not {word}")
        if name not in known:
            raise BadFlags(f"unknown flag: --{name}")
        found[name] = value
    return found


def checked(flags: Mapping[str, str]) -> None:
    """Nothing when an API server would start with these flags, else BadFlags."""
    for name in _MUST:
        if not flags.get(name):
            raise BadFlags(f"--{name} must be specified")
    for name in _FILES:
        if name in flags and b"-----BEGIN" not in _read(name, flags[name]):
            raise BadFlags(f"--{name}: {flags[name]} has no PEM data")
    if not flags["service-account-issuer"].startswith("https://"):
        raise BadFlags("--service-account-issuer must be an https URL for its discovery document")
    for name, allowed in (("authorization-mode", _MODES), ("disable-admission-plugins", _PLUGINS)):
        unknown = [each for each in flags.get(name, "").split(",") if each and each not in allowed]
        if unknown:
            raise BadFlags(f"--{name}: {unknown[0]} is not a valid value")


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadFlags(f"--{name}: {error}") from None
