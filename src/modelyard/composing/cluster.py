"""A cluster: replicas are pods, and the gateway is an Envoy beside the control plane or routers as pods."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from modelyard import __version__
from modelyard.artifacts import Artifacts
from modelyard.artifacts.wheels import Wheels, WithWheels
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.backend import KubernetesBackend, Options
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.observing import Observer
from modelyard.backends.kubernetes.images import FETCH, SERVING, reference
from modelyard.backends.kubernetes.leases import Leadership
from modelyard.backends.kubernetes.probe import probe
from modelyard.backends.kubernetes.render.desired import Cache, Images, Settings
from modelyard.composing import doors, identity, keys, local, outside, requiring, routing
from modelyard.composing.channel import Channel, Installation
from modelyard.composing.reached import Reached
from modelyard.composing.rooms import Given, World
from modelyard.composing.tenancy import Tenancy
from modelyard.control import deliveries, kinds
from modelyard.control.platform import Hints, News
from modelyard.domain import quantity
from modelyard.domain.errors import BackendError, Forbidden, Invalid, Unavailable
from modelyard.settings import Kubernetes

log = logging.getLogger(__name__)

OLDEST = (1, 31)
LEASE = "modelyard"
_ARTIFACTS = "/api/v1/artifacts"
_REACHED_SECONDS = 60.0
_AGAIN_SECONDS = 2.0


def connect(given: Given, observer: Observer) -> Tenancy:
    """A client of the cluster that settings name. Raises Invalid for a file that says nothing usable."""
    wanted = given.chosen.kubernetes
    access = config.load(given.environ, kubeconfig=wanted.kubeconfig, context=wanted.context)
    if wanted.account:
        access = replace(access, namespace=wanted.system_namespace)
    cluster = Tenancy(access, clock=given.clock, observer=observer)
    if wanted.account:
        cluster.account = wanted.system_namespace, wanted.account
        cluster.home = partial(
            names.namespace, prefix=wanted.namespace_prefix, system=wanted.system_namespace
        )
    return cluster


@contextlib.asynccontextmanager
async def world(given: Given, observer: Observer) -> AsyncIterator[World]:
    """What a platform with a cluster works with. Raises Unavailable, Forbidden, Invalid."""
    wanted = given.chosen.kubernetes
    cluster, capabilities = await _entered(given, observer)
    environments = local.environments(given)
    wheels = _wheels(given)
    artifacts = _store(given, wheels)
    options = replace(
        _options(given, capabilities, inside=cluster.access.inside),
        courier=_courier(given, artifacts),
        runtime_lock=environments.lock_text,
        wheels=wheels,
    )
    hints, news = Hints(), News()
    leadership = _leadership(given, cluster) if wanted.lease else None
    if leadership is not None:
        options = replace(options, may_write=lambda: leadership.leads)
    backend = KubernetesBackend(
        cluster,
        options,
        clock=given.clock,
        changed=lambda key: hints.give(kinds.DEPLOYMENT, str(key)),
        note=news.tell,
    )
    reached = Reached(
        cluster, clock=given.clock, capabilities=capabilities, learnt=backend.learn,
        unheard=backend.unheard, wanted=wanted,
    )  # fmt: skip
    watching = asyncio.create_task(reached.run(), name="look whether the cluster answers")
    channel = _channel(given, cluster, may_write=options.may_write)
    gateway = routing.gateway(given, cluster, shown=channel.shown)
    tasks = [watching]
    try:
        if wanted.routers:
            await channel.begin()
            tasks.append(asyncio.create_task(channel.keep(), name="renew what routers prove themselves with"))
        yield World(
            name="kubernetes",
            backend=backend,
            environments=environments,
            gateway=gateway,
            artifacts=artifacts,
            hints=hints,
            news=news,
            outlives=True,
            has_door=not wanted.routers,
            outside=await outside.look(cluster, given.chosen),
            keep_keys=partial(_keep_keys, given, cluster, leadership),
            leadership=leadership,
            describe=lambda: {**reached.describe(), **routing.described(gateway)},
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await backend.close()


async def _entered(given: Given, observer: Observer) -> tuple[Tenancy, Capabilities]:
    """The cluster, with what it can do, once the platform may work in it and has its keys."""
    wanted = given.chosen.kubernetes
    if wanted.routers and not wanted.api_port:
        raise Invalid("kubernetes.api_port must be set: routers reach the API by it")
    cluster = connect(given, observer)
    try:
        capabilities = await capabilities_of(cluster, gateway_class=wanted.gateway_class)
        await identity.require(cluster, _claim(given))
        await cluster.enter_all()
        if wanted.lease:
            await keys.bring(cluster, wanted.system_namespace, given.home)
    except BaseException:
        await cluster.close()
        raise
    return cluster, capabilities


def _claim(given: Given) -> identity.Claim:
    """The namespaces that settings give this installation."""
    wanted = given.chosen.kubernetes
    return identity.Claim(
        id=given.installation,
        namespace=wanted.system_namespace,
        prefix=wanted.namespace_prefix,
        since=datetime.fromtimestamp(given.clock(), UTC).isoformat(timespec="seconds"),
        by=given.identity,
    )


def _channel(given: Given, cluster: Cluster, *, may_write: Callable[[], bool]) -> Channel:
    """How the platform and its routers know one another."""
    about = Installation(
        namespace=given.chosen.kubernetes.system_namespace,
        master_key=given.master_key,
        token=platform_token(given.master_key),
    )
    return Channel(cluster, about, clock=given.clock, may_write=may_write)


async def _keep_keys(given: Given, cluster: Cluster, leadership: Leadership | None) -> None:
    """Where control planes share a cluster, its Secret is where keys are; else the data directory."""
    if leadership is not None:
        await keys.keep(cluster, given.chosen.kubernetes.system_namespace, given.home)
        # That was the last that is written without leading, whoever asks for it.
        cluster.guard(leadership.check)


async def capabilities_of(
    cluster: Cluster, *, seconds: float = _REACHED_SECONDS, gateway_class: str = ""
) -> Capabilities:
    """What the cluster can do, once it answers. Raises Unavailable, Forbidden or Invalid with the remedy."""
    where = f"the cluster at {cluster.access.server} (context {cluster.access.context})"
    try:
        async with asyncio.timeout(seconds):
            version = await _version(cluster)
    except TimeoutError:
        raise Unavailable(
            f"{where} did not answer within {seconds:g} s; "
            "see `kubectl cluster-info`, and set kubernetes.kubeconfig and kubernetes.context"
        ) from None
    except (BackendError, Forbidden) as error:
        raise Forbidden(f"{where} lets nobody in with these credentials: {error}") from None
    if version < OLDEST:
        raise Invalid(f"{where} is Kubernetes {version[0]}.{version[1]}; Modelyard needs 1.31 or newer")
    return await probe(cluster, known=Capabilities(version=version), gateway_class=gateway_class)


async def _version(cluster: Cluster) -> tuple[int, int]:
    """The cluster's version, asked for until it answers."""
    while True:
        try:
            return await cluster.version()
        except Unavailable as error:
            log.warning("the cluster does not answer: %s", error)
            await asyncio.sleep(_AGAIN_SECONDS)


def _options(given: Given, capabilities: Capabilities, *, inside: bool) -> Options:
    wanted, token = given.chosen.kubernetes, platform_token(given.master_key)
    return Options(
        settings=Settings(
            namespace_prefix=wanted.namespace_prefix,
            system_namespace=wanted.system_namespace,
            images=_images(wanted),
            artifact_url=_artifact_url(given),
            cache=_cache(wanted),
            max_body_bytes=quantity.parse_memory(given.chosen.limits.request, "limits.request"),
            index_url=given.chosen.runtimes.index_url,
            prometheus_url=wanted.prometheus_url,
            drain_wait_seconds=wanted.drain_wait_seconds,
            network_policies=wanted.network_policies,
            platform_inside=inside,
            platform_cidrs=requiring.cidrs(wanted.platform_cidrs),
            cluster_queue=wanted.cluster_queue,
            platform_sha256=hashlib.sha256(token.encode()).hexdigest(),
        ),
        token=token,
        capabilities=capabilities,
    )


def _wheels(given: Given) -> Wheels | None:
    """The wheels that pods get from here; None has them ask an index."""
    directory = local.wheels(given)
    return Wheels(Path(directory)) if directory else None


def _store(given: Given, wheels: Wheels | None) -> Artifacts:
    """Where files are, and the wheels that pods get too."""
    store = local.artifacts(given)
    return WithWheels(store, wheels) if wheels is not None else store


def _cache(wanted: Kubernetes) -> Cache | None:
    """The claim that fetchers share. Raises Invalid for a size that is none."""
    size = quantity.parse_memory(wanted.cache_size, "kubernetes.cache_size")
    return Cache(size=size, storage_class=wanted.cache_class, access=wanted.cache_access) if size else None


def platform_token(master_key: bytes) -> str:
    """What the platform shows to replicas and routers: derived, so that it is nowhere stored."""
    return hmac.new(master_key, b"platform", hashlib.sha256).hexdigest()


def _images(wanted: Kubernetes) -> Images:
    def named(image: str, default: str) -> str:
        return image or default

    return Images(
        serving=named(wanted.serving_image, reference(SERVING, registry=wanted.registry, tag=__version__)),
        fetch=named(wanted.fetch_image, reference(FETCH, registry=wanted.registry, tag=__version__)),
        pull_policy=wanted.pull_policy,
        pull_secret=wanted.pull_secret,
    )


def _courier(given: Given, artifacts: Artifacts) -> deliveries.Couriers:
    """Lends models' files to pods."""
    return deliveries.Couriers(
        artifacts=artifacts,
        master_key=given.master_key,
        clock=given.clock,
        new_id=lambda: secrets.token_hex(16),
        base=_artifact_url(given),
    )


def _artifact_url(given: Given) -> str:
    """Where pods get files; the front door when settings name nothing better."""
    wanted, server = given.chosen.kubernetes, given.chosen.server
    if wanted.artifact_url and not wanted.artifact_url.startswith(("http://", "https://")):
        raise Invalid("kubernetes.artifact_url must begin with http:// or https://")
    base = wanted.artifact_url or doors.public_url(server)
    if not wanted.artifact_url and doors.is_loopback(server.host):
        log.warning("pods of other machines cannot reach %s; set kubernetes.artifact_url", base)
    return base.rstrip("/") + _ARTIFACTS


def _leadership(given: Given, cluster: Cluster) -> Leadership:
    namespace = given.chosen.kubernetes.system_namespace
    return Leadership(
        cluster, namespace, LEASE, identity=given.identity, clock=given.clock, address=_own_address(given)
    )


def _own_address(given: Given) -> str:
    """Where other control planes reach this one; empty when it listens on a socket only."""
    wanted = given.chosen.kubernetes
    host = given.environ.get("POD_IP") or wanted.api_host or os.uname().nodename
    return doors.url("http", host, wanted.api_port) if wanted.api_port else ""
