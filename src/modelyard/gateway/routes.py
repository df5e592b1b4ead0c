"""Which routes there should be: pure, from deployments to the gateway's wishes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from modelyard.domain import progress, rollout_shares
from modelyard.domain.deployment import Deployment, Key, Phase, Replica, Stage
from modelyard.domain.endpoint import AccessKey, Addresses, Mirror, Route, Share, Target
from modelyard.domain.traffic_spec import EndpointSpec
from modelyard.gateway.sharing import Surroundings, shared

DEFAULT_PROJECT = "default"
"""The project whose services are named without it."""
PLAIN = EndpointSpec()
"""An endpoint that answers all its requests itself."""


def addresses(key: Key, *, domain: str) -> Addresses:
    """Every way to reach the service; `domain` is such as `localhost`."""
    stage = "" if key.stage is Stage.PRODUCTION else f"{key.stage.value}."
    project = "" if key.project == DEFAULT_PROJECT else f".{key.project}"
    aliased = key.stage is Stage.PRODUCTION and key.project == DEFAULT_PROJECT
    return Addresses(
        host=f"{stage}{key.name}{project}.service.{domain}",
        path=f"/services/{key.project}/{key.service}",
        alias=f"/v2/models/{key.name}" if aliased else "",
    )


def desired_routes(
    deployments: Iterable[Deployment],
    *,
    keys: Mapping[Key, Sequence[AccessKey]],
    domain: str,
    endpoints: Mapping[str, EndpointSpec] = MappingProxyType({}),
) -> tuple[Route, ...]:
    """One route per deployment that is not being deleted, sorted by name.

    Targets are its ready replicas that are not leaving. A deployment without such a replica keeps
    its route, so that its clients hear that it is unavailable and not that it is unknown. `keys`
    are the tokens that open each deployment; a missing entry means that none does. `endpoints` are the
    wishes for routes that do not just lead to their own replicas, by name.
    """
    present = sorted((d for d in deployments if not d.deleting), key=lambda d: str(d.key))
    routes = tuple(_route(d, tuple(keys.get(d.key, ())), domain) for d in present)
    around = Surroundings.of(routes, present)
    return tuple(shared(route, endpoints.get(route.name, PLAIN), around) for route in routes)


def serves(replica: Replica) -> bool:
    """Whether the gateway may send this replica new requests."""
    leaving = replica.draining_since or replica.stopping_since
    return replica.phase is Phase.READY and not leaving and bool(replica.address)


def _route(deployment: Deployment, keys: tuple[AccessKey, ...], domain: str) -> Route:
    shares = _shares(deployment)
    mirrors = _mirrors(deployment, shares)
    return Route(
        name=str(deployment.key),
        service=deployment.key.service,
        addresses=addresses(deployment.key, domain=domain),
        shares=shares,
        mirrors=mirrors,
        compares=bool(mirrors),
        keeps_inputs=bool(mirrors) and deployment.spec.strategy.keep_inputs,
        keys=keys,
        public=deployment.spec.public,
        timeout_seconds=deployment.spec.request_timeout_seconds,
    )


def _shares(deployment: Deployment) -> tuple[Share, ...]:
    """One for each revision of a judged rollout; otherwise one for all."""
    divided = rollout_shares.parts(deployment, serves=serves)
    return tuple(
        Share(name=f"{deployment.key}#{part.revision}", targets=_targets(part.replicas), weight=part.weight)
        for part in divided
    ) or (_everything(deployment),)


def _mirrors(deployment: Deployment, shares: Sequence[Share]) -> tuple[Mirror, ...]:
    """Copies for the revision that is rolled out, as many as its strategy says."""
    rollout = progress.active(deployment)
    percent = deployment.spec.strategy.mirror
    if rollout is None or len(shares) < 2 or not rollout.since or not percent:
        return ()
    new = shares[-1]
    return (Mirror(share=new, percent=percent),) if new.targets and new.weight < 100 else ()


def _targets(replicas: Iterable[Replica]) -> tuple[Target, ...]:
    return tuple(Target(replica=r.name, address=r.address, revision=r.revision) for r in replicas)


def _everything(deployment: Deployment) -> Share:
    """The ready replicas of every revision."""
    replicas = sorted(filter(serves, deployment.status.replicas), key=lambda r: r.name)
    targets = _targets(replicas)
    return Share(name=str(deployment.key), targets=targets, weight=100 if targets else 0)
