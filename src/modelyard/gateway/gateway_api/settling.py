"""When a change at the cluster's gateway is effective, and when it is not or never will be: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from modelyard.gateway.gateway_api.site import Manifest

Named = tuple[str, str]
"""Kind of an object, and its namespace and name with a slash between."""
Endpoints = Mapping[tuple[str, str], frozenset[str]]
"""Namespace and name of a Service to the addresses behind it that are ready."""

_SILENT_SECONDS = 30.0
_DOUBT_SECONDS = 2.0
"""A controller may look at a route before it has seen the leave to lead to a Service."""
_SHORTEST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.25, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How one service is reached, and whether the gateway works by that yet."""

    straight: bool
    """Past the builtin router, to the Services of its revisions."""
    replicas: Mapping[str, str]
    """Those that it leads to, or is to as soon as their Services know them, with their addresses."""
    withheld: bool = False
    """Whether some are not known to their Services yet."""
    objects: Mapping[Named, object] = field(default_factory=dict)
    """Its routes, with their specs."""
    before: Mapping[str, str] = field(default_factory=dict)
    """Others that may still be sent requests."""
    taken: frozenset[str] = frozenset()
    """Those that are certainly sent requests."""
    changed_at: float = 0.0
    accepted_at: float | None = None
    """When all its routes were first seen to be taken up as they are."""
    past: bool = False
    """Whether requests may still go straight by routes of before, also of another service that had them."""
    settled: bool = False
    refusal: str = ""
    """Why it is not taken up, in the words of whoever does not."""

    @property
    def services(self) -> frozenset[tuple[str, str]]:
        """Services that its routes lead to, copies included."""
        return frozenset(_backends(tuple(self.objects.values())))

    @property
    def pending(self) -> frozenset[str]:
        """Replicas that nobody may rely on yet."""
        return frozenset(self.replicas) - self.taken


def led(known: Way | None, wanted: Way, *, now: float) -> Way:
    """What is known once a way was told the cluster: whoever was reached before may still be."""
    if known is None:
        return _relied_on(replace(wanted, changed_at=now))
    before = {**known.before, **known.replicas}
    after = replace(
        wanted,
        before={name: address for name, address in before.items() if name not in wanted.replicas},
        # Who comes to have what another service has was relied on for something else.
        taken=frozenset() if wanted.past else known.taken & wanted.replicas.keys(),
        refusal=known.refusal,
    )
    if known.objects != wanted.objects:
        # Other weights of the same Services lose nobody while proxies work by those of before.
        left = known.straight and known.services != wanted.services
        return _relied_on(replace(after, past=wanted.past or known.past or left, changed_at=now))
    same = known.replicas == wanted.replicas and known.withheld == wanted.withheld
    return _relied_on(
        replace(
            after,
            past=known.past,
            changed_at=known.changed_at if same else now,
            accepted_at=known.accepted_at,
            settled=known.settled and same,
        )
    )


def seen(
    way: Way, present: Mapping[Named, Manifest], endpoints: Endpoints, *, now: float, pause: float
) -> Way:
    """What is known after a look at its routes and at what is behind its Services."""
    verdicts = [verdict(present.get(name), name, spec) for name, spec in sorted(way.objects.items())]
    if any(accepted is not True for accepted, _ in verdicts):
        age = now - way.changed_at
        patience = {False: _DOUBT_SECONDS, None: _SILENT_SECONDS}
        said = [w for kind in patience for a, w in verdicts if a is kind and age >= patience[kind]]
        return replace(way, accepted_at=None, settled=False, refusal=next(iter(said), ""))
    since = now if way.accepted_at is None else way.accepted_at
    if way.past and now - since < pause:
        return replace(way, accepted_at=since, settled=False, refusal="")
    return _effective(_relied_on(replace(way, accepted_at=since, past=False, refusal="")), endpoints)


def _backends(value: object) -> Iterator[tuple[str, str]]:
    """Every back end in the specs of routes."""
    match value:
        case {"kind": "Service", "namespace": str(namespace), "name": str(name)}:
            yield namespace, name
        case Mapping():
            yield from _backends(tuple(value.values()))
        case list() | tuple():
            for each in value:
                yield from _backends(each)


def _relied_on(way: Way) -> Way:
    """Where no request goes past the router, whoever is published is reached: it is told first."""
    if way.straight or way.past:
        return way
    return replace(way, taken=frozenset(way.replicas))


def _effective(way: Way, endpoints: Endpoints) -> Way:
    """Its routes count; whom they lead to is for the Services to say."""
    if not way.straight:
        return replace(way, before={}, settled=not way.withheld)
    ready = frozenset[str]().union(*(endpoints.get(each, ()) for each in way.services))
    taken = frozenset(name for name, address in way.replicas.items() if address in ready)
    settled = len(taken) == len(way.replicas)
    # One that was sent requests does not cease to be relied on because its Service lost it for a moment.
    # Others of a Service leave it when they stop, and answer until every node knows.
    return replace(way, taken=taken | way.taken, before={}, settled=settled and not way.withheld)


def verdict(manifest: Manifest | None, name: Named, spec: object) -> tuple[bool | None, str]:
    """Whether every gateway that a route names has taken it up as it should be; None while unknown.

    With the words of who does not, or what is waited for.
    """
    called = f"{name[0]} {name[1]}"
    if manifest is None or not contains(manifest.get("spec"), spec):
        return None, f"{called} is not what it should be"
    parents = (manifest.get("status") or {}).get("parents", [])
    generation = manifest["metadata"].get("generation", 0)
    for parent in parents:
        for kind in ("Accepted", "ResolvedRefs"):
            state, words = condition(parent, kind, generation)
            if state == "False":
                return False, f"the gateway's controller does not take up {called}: {words}"
    accepted = [condition(parent, "Accepted", generation)[0] == "True" for parent in parents]
    if len(parents) >= len(manifest["spec"].get("parentRefs", [])) and all(accepted):
        return True, ""
    said = f"{_SILENT_SECONDS:g} s"
    return None, f"the gateway's controller has said nothing of {called} for {said}; is it running?"


def condition(status: Mapping[str, object], kind: str, generation: int) -> tuple[str, str]:
    """A condition about this generation, and its words; empty when there is none."""
    conditions = status.get("conditions")
    for each in conditions if isinstance(conditions, list) else []:
        if each["type"] == kind and each.get("observedGeneration", 0) >= generation:
            reason, message = each.get("reason", ""), each.get("message", "")
            return str(each["status"]), ": ".join(filter(None, (reason, message)))
    return "", ""


def contains(found: object, wanted: object) -> bool:
    """Whether all that is wanted is there; the cluster adds defaults."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(contains(found.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(contains(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return found == wanted


def pause_before_look(ways: Iterable[Way], *, now: float) -> float | None:
    """After how long to look again; None when nothing is waited for. The longer it takes, the rarer."""
    ages = [now - max(way.changed_at, way.accepted_at or 0.0) for way in ways if not way.settled]
    if not ages:
        return None
    return min(max(min(ages) / 10, _SHORTEST_LOOK_SECONDS), _LONGEST_LOOK_SECONDS)
