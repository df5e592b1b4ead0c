"""Routes with what users asked of their endpoints: pure, after every route has its own replicas."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from modelyard.domain import traffic
from modelyard.domain.deployment import Deployment
from modelyard.domain.endpoint import Mirror, Pin, Route, Share, Target
from modelyard.domain.limits import Limits
from modelyard.domain.traffic import Part
from modelyard.domain.traffic_spec import EndpointSpec, Ref, parse

_FINE = 1000
"""Target weights are whole numbers; this many steps for a percent are fine enough."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Every route by name as it is without endpoints' wishes, and what else must be known of replicas."""

    routes: Mapping[str, Route]
    ready: Mapping[str, traffic.Ready]
    """Project to who is ready in it."""
    revisions: Mapping[str, int]
    """Replica to its revision."""
    limits: Mapping[str, Limits]
    """Route to the limits of its deployment."""

    @classmethod
    def of(cls, routes: Iterable[Route], deployments: Iterable[Deployment]) -> Surroundings:
        """From deployments, and the routes that they have."""
        known = {route.name: route for route in routes}
        found = [d for d in deployments if str(d.key) in known]
        revisions = {r.name: r.revision for d in found for r in d.status.replicas}
        ready: dict[str, dict[str, Counter[int]]] = defaultdict(dict)
        for name, route in known.items():
            project, _, service = name.partition("/")
            ready[project][service] = _ready(route, revisions)
        return cls(known, ready, revisions, {str(d.key): d.spec.limits for d in found})

    def share(self, project: str, ref: Ref) -> Share:
        """The replicas that a place has now; its weight is to be set."""
        route = self.routes.get(f"{project}/{ref.service}")
        name = f"{project}/{ref}"
        if route is None:
            return Share(name=name, targets=())
        found = next((share for share in route.shares if share.name == name), None)
        if found is None and ref.revision is None:
            found = Share(name=name, targets=together(route.shares), waking=route.waking)
        elif found is None:
            of_revision = (t for t in _serving(route) if self.revisions.get(t.replica) == ref.revision)
            found = Share(name=name, targets=tuple(replace(t, weight=1) for t in of_revision))
        return replace(found, limits=self._limits(route, found))

    def _limits(self, route: Route, share: Share) -> Limits:
        """The deployment's limits, with the share's part of what may be in progress at once."""
        limits = self.limits.get(route.name, Limits())
        have, of = len(share.targets), len(_serving(route))
        if 0 < have < of and limits.concurrency:
            parts = (-(-limits.concurrency * have // of), -(-limits.pending * have // of))
            limits = replace(limits, concurrency=parts[0], pending=parts[1])
        return limits


def parts(name: str, spec: EndpointSpec, around: Surroundings) -> tuple[Part, ...]:
    """How the requests to the route `name` are divided now."""
    project, _, service = name.partition("/")
    shares = around.routes[name].shares
    steps = tuple((int(share.name.partition("#")[2]), share.weight) for share in shares if "#" in share.name)
    return traffic.divide(
        service, spec, around.ready.get(project, {}), steps if any(w for _, w in steps) else ()
    )


def shared(route: Route, spec: EndpointSpec, around: Surroundings) -> Route:
    """The route as its endpoint wishes."""
    project = route.name.partition("/")[0]
    if spec.weights or spec.pins:
        divided = [(around.share(project, p.ref), p.weight) for p in parts(route.name, spec, around)]
    else:
        divided = [(replace(s, limits=around.share(project, _ref(s)).limits), s.weight) for s in route.shares]
    shares = tuple(replace(share, weight=weight) for share, weight in divided)
    if route.name not in {share.name for share in shares}:
        # Requests for a service that may sleep are held for this one, however its own are divided.
        shares += tuple(share for share in route.shares if share.name == route.name and share.waking)
    able = {share.name for share in shares if share.targets}
    pins = [
        Pin(share=f"{project}/{p.to}", value=p.value, header=p.header, cookie=p.cookie) for p in spec.pins
    ]
    copied = [(_ref(m.share), m.percent) for m in route.mirrors]
    copied += [(to, m.percent) for m in spec.mirrors if (to := parse(m.to)) not in dict(copied)]
    mirrors = tuple(Mirror(share=around.share(project, to), percent=percent) for to, percent in copied)
    return replace(
        route,
        shares=shares,
        pins=tuple(pin for pin in pins if pin.share in able),
        mirrors=mirrors,
        sticky=spec.sticky,
        limits=around.limits.get(route.name, Limits()),
    )


def _ready(route: Route, revisions: Mapping[str, int]) -> Counter[int]:
    """Revision to replicas; a share of one revision may be helped by replicas of others."""
    found: Counter[int] = Counter()
    of_revisions = [share for share in route.shares if "#" in share.name]
    for share in of_revisions or route.shares:
        _, divided, revision = share.name.partition("#")
        found.update(int(revision) if divided else revisions.get(t.replica, 0) for t in share.targets)
    return found


def _serving(route: Route) -> tuple[Target, ...]:
    """The replicas that answer, each once; those that are only sent copies are not among them."""
    return tuple({t.replica: t for share in route.shares for t in share.targets}.values())


def _ref(share: Share) -> Ref:
    return parse(share.name.partition("/")[2])


def together(shares: Sequence[Share]) -> tuple[Target, ...]:
    """The replicas of several revisions as one cluster that keeps what each revision gets."""
    serving = [share for share in shares if share.weight > 0 and share.targets]
    if len(serving) <= 1:
        return serving[0].targets if serving else ()
    return tuple(
        replace(target, weight=max(share.weight * _FINE // len(share.targets), 1))
        for share in serving
        for target in share.targets
    )
