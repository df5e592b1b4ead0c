"""Which routes there should be: pure, from deployments to the gateway's wishes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from modelyard.domain import progress, rollout_shares, scaling, takeover
from modelyard.domain.address import Address
from modelyard.domain.deployment import Deployment, Key, Phase, Replica, Stage
from modelyard.domain.endpoint import AccessKey, Addresses, Mirror, Route, Share, Target
from modelyard.domain.takeover import Settlement
from modelyard.domain.traffic_spec import EndpointSpec
from modelyard.gateway.sharing import Surroundings, shared, together

DEFAULT_PROJECT = "default"
"""The project whose services are named without it."""
PLAIN = EndpointSpec()
"""An endpoint that answers all its requests itself."""


NOWHERE = Address()


def below(project: str, *, domain: str) -> str:
    """What the automatic hosts of a project's services end with: `service.localhost`."""
    return f"service.{domain}" if project == DEFAULT_PROJECT else f"{project}.service.{domain}"


def addresses(key: Key, *, domain: str, address: Address = NOWHERE) -> Addresses:
    """Every way to reach the service through the front door; `domain` is such as `localhost`."""
    stage = "" if key.stage is Stage.PRODUCTION else f"{key.stage.value}."
    aliased = key.stage is Stage.PRODUCTION and key.project == DEFAULT_PROJECT
    host = address.wish.domain or f"{key.name}.{below(key.project, domain=domain)}"
    return Addresses(
        host=f"{stage}{host}",
        path=f"/services/{key.project}/{key.service}",
        alias=f"/v2/models/{key.name}" if aliased else "",
    )


def settled(
    deployments: Iterable[Deployment], *, domains: Mapping[str, str], domain: str
) -> dict[str, Settlement]:
    """Who has each host; `domains` has those of projects that do not use the installation's `domain`."""
    present = [d for d in deployments if not d.deleting]
    return takeover.settle(
        takeover.claimant(d, _addresses(d, domains.get(d.project, domain)).host) for d in present
    )


def desired_routes(
    deployments: Iterable[Deployment],
    *,
    keys: Mapping[Key, Sequence[AccessKey]],
    domain: str,
    endpoints: Mapping[str, EndpointSpec] = MappingProxyType({}),
    domains: Mapping[str, str] = MappingProxyType({}),
    hosts: Mapping[str, Settlement] | None = None,
) -> tuple[Route, ...]:
    """One route per deployment that is not being deleted, sorted by name.

    Targets are its ready replicas that are not leaving. A deployment without such a replica keeps
    its route, so that its clients hear that it is unavailable and not that it is unknown. `keys`
    are the tokens that open each deployment; a missing entry means that none does. `endpoints` are the
    wishes for routes that do not just lead to their own replicas, by name. `domains` has those of projects
    that do not use the installation's `domain`; `hosts` says who has each, if that is known already.
    """
    present = sorted((d for d in deployments if not d.deleting), key=lambda d: str(d.key))
    hosts = settled(present, domains=domains, domain=domain) if hosts is None else hosts
    owned = {s.owner: s for s in hosts.values()}
    routes = tuple(_route(d, tuple(keys.get(d.key, ())), domains.get(d.project, domain)) for d in present)
    routes = tuple(_at_host(r, d.key, owned.get(d.key)) for d, r in zip(present, routes, strict=True))
    around = Surroundings.of(routes, present)
    return tuple(shared(route, endpoints.get(route.name, PLAIN), around) for route in routes)


def isolated(found: Iterable[Route], projects: Collection[str]) -> tuple[Route, ...]:
    """The routes, with those of these projects leading to replicas that are kept from others."""
    return tuple(replace(r, isolated=True) if r.name.partition("/")[0] in projects else r for r in found)


def surroundings(deployments: Iterable[Deployment], *, domain: str) -> Surroundings:
    """What decides how the requests to these deployments are divided."""
    present = [d for d in deployments if not d.deleting]
    return Surroundings.of((_route(d, (), domain) for d in present), present)


def serves(replica: Replica) -> bool:
    """Whether the gateway may send this replica new requests."""
    leaving = replica.draining_since or replica.stopping_since
    return replica.phase is Phase.READY and not leaving and bool(replica.address)


def _at_host(route: Route, key: Key, owned: Settlement | None) -> Route:
    if owned is None:
        return replace(route, hosted=False)
    former = {other.name for other in owned.rivals} - {key.name}
    return replace(route, former=tuple(sorted(former)))


def _addresses(deployment: Deployment, domain: str) -> Addresses:
    return addresses(deployment.key, domain=domain, address=deployment.spec.address)


def _route(deployment: Deployment, keys: tuple[AccessKey, ...], domain: str) -> Route:
    divided = _divided(deployment)
    shares = _with_held(deployment, divided) or (_everything(deployment),)
    mirrors = _mirrors(deployment, divided)
    return Route(
        name=str(deployment.key),
        service=deployment.key.service,
        addresses=_addresses(deployment, domain),
        domain=domain,
        ports=deployment.ports[: deployment.spec.address.port_count],
        shares=tuple(replace(share, waking=scaling.waking(deployment)) for share in shares),
        mirrors=mirrors,
        compares=bool(mirrors),
        keeps_inputs=bool(mirrors) and deployment.spec.strategy.keep_inputs,
        keys=keys,
        public=deployment.spec.public,
        timeout_seconds=deployment.spec.request_timeout_seconds,
    )


def _divided(deployment: Deployment) -> tuple[Share, ...]:
    """One share for each revision of a judged rollout; none while all replicas share requests evenly."""
    return tuple(
        Share(name=f"{deployment.key}#{part.revision}", targets=_targets(part.replicas), weight=part.weight)
        for part in rollout_shares.parts(deployment, serves=serves)
    )


def _with_held(deployment: Deployment, divided: tuple[Share, ...]) -> tuple[Share, ...]:
    """The shares, and the one for which requests to a service that may sleep are held, rollout or not.

    They are sent on within the cluster that they came to, so that one must not come and go with rollouts, and
    leads to whoever wakes first. It gets no other requests, unless nobody is awake.
    """
    if not divided or scaling.waking(deployment) is None:
        return divided
    held = Share(name=str(deployment.key), targets=together(divided), weight=0)
    return (*divided, held) if held.targets else (held,)


def _mirrors(deployment: Deployment, shares: Sequence[Share]) -> tuple[Mirror, ...]:
    """Copies for the revision that is rolled out, as many as its strategy says."""
    rollout = progress.active(deployment)
    percent = deployment.spec.strategy.mirror
    if rollout is None or len(shares) < 2 or not rollout.since or not percent:
        return ()
    new = shares[-1]
    return (Mirror(share=new, percent=percent),) if new.targets and new.weight < 100 else ()


def _targets(replicas: Iterable[Replica]) -> tuple[Target, ...]:
    return tuple(
        Target(replica=r.name, address=r.address, second_address=r.second_address, revision=r.revision)
        for r in replicas
    )


def _everything(deployment: Deployment) -> Share:
    """The ready replicas of every revision."""
    replicas = sorted(filter(serves, deployment.status.replicas), key=lambda r: r.name)
    targets = _targets(replicas)
    return Share(name=str(deployment.key), targets=targets, weight=100 if targets else 0)
