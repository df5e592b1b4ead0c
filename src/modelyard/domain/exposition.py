"""The Prometheus text of many targets as one: each sample says whose it is, each name is described once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from modelyard.domain.observation import BOUNDS, bucket
from modelyard.domain.tallies import Reading, Tally, seconds_of

_SAMPLE = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]+([^ \t]+)(?:[ \t]+-?[0-9]+)?'
)
_SUFFIXES = ("_bucket", "_sum", "_count", "_total", "_created", "_info")
_KINDS = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
_COARSE = (*BOUNDS[:-2:4], *BOUNDS[-2:])
"""Every fourth bound is enough for a dashboard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one target said."""

    labels: Mapping[str, str]
    """Whose its samples are; a label of that name in a foreign text becomes `exported_…`."""
    text: str | None
    """None when it did not answer."""
    ours: bool = False
    """It is one of the platform's own serving fronts, which say themselves whose their samples are."""


@dataclass(slots=True)
class _Family:
    kind: str = ""
    text: str = ""
    samples: list[str] = field(default_factory=list)


def merged(targets: Iterable[Target], *, own: str = "") -> str:
    """One text of `own` and all targets, with `up` for each; lines that are no samples are left out."""
    families: dict[str, _Family] = {}
    _add(families, Target(labels={}, text=own, ours=True), own)
    up = families.setdefault("up", _Family(kind="gauge", text="Whether a target answered."))
    for target in targets:
        up.samples.append(f"up{{{_labels(target.labels)}}} {int(target.text is not None)}")
        if target.text is not None:
            _add(families, target, target.text)
    return "".join(_written(name, family) for name, family in families.items() if family.samples)


def of_gateway(reading: Reading) -> str:
    """What the gateway counted of all services, since it started."""
    requests = _Family(
        kind="counter", text="Answers, refused requests included; a gRPC call under its status."
    )
    durations = _Family(kind="histogram", text="From the first byte of a request to the last of its answer.")
    inflight = _Family(kind="gauge", text="Requests begun and not yet answered.")
    for tally in reading.tallies:
        labels = _labels(_of(tally))
        for protocol, counts in (("http", tally.codes), ("grpc", tally.calls)):
            for code, count in sorted(counts.items()):
                which = f'{labels},protocol="{protocol}",code="{code}"'
                requests.samples.append(f"modelyard_gateway_requests_total{{{which}}} {count}")
        durations.samples += _histogram("modelyard_gateway_request_duration_seconds", labels, tally)
    for replica, count in sorted(reading.inflight.items()):
        inflight.samples.append(f'modelyard_gateway_inflight{{replica="{_escaped(replica)}"}} {count}')
    families = {
        "modelyard_gateway_requests_total": requests,
        "modelyard_gateway_request_duration_seconds": durations,
        "modelyard_gateway_inflight": inflight,
    }
    return "".join(_written(name, family) for name, family in families.items() if family.samples)


def _of(tally: Tally) -> dict[str, str]:
    part = tally.part
    project, _, service = part.service.partition("/")
    name, _, stage = service.partition("@")
    stage = stage or "production"
    labels = {"project": project, "service": name, "stage": stage, "revision": str(part.revision)}
    return {**labels, "via": part.via, **({"router": tally.source} if tally.source else {})}


def _histogram(name: str, labels: str, tally: Tally) -> Iterator[str]:
    counts = [0] * len(_COARSE)
    for least, count in tally.times.items():
        bound = BOUNDS[bucket(seconds_of(least))]
        counts[next(index for index, coarse in enumerate(_COARSE) if coarse >= bound)] += count
    below = 0
    for bound, count in zip(_COARSE, counts, strict=True):
        below += count
        le = "+Inf" if math.isinf(bound) else repr(bound)
        yield f'{name}_bucket{{{labels},le="{le}"}} {below}'
    yield f"{name}_sum{{{labels}}} {tally.microseconds / 1e6}"
    yield f"{name}_count{{{labels}}} {below}"


def _add(families: dict[str, _Family], target: Target, text: str) -> None:
    told = ("project", "service", "stage") if target.ours else ()
    labels = _labels({name: value for name, value in target.labels.items() if name not in told})
    clash = re.compile(rf'(^|,)\s*({"|".join(target.labels) or "$"})="')
    described: dict[str, _Family] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            _describe(families, described, line)
        elif sample := _SAMPLE.fullmatch(line.strip()):
            name, given, value = sample.groups(default="")
            if not target.ours:
                given = clash.sub(r'\1exported_\2="', given)
            family = described.get(_family_name(name, described)) or families.setdefault(name, _Family())
            every = ",".join(filter(None, (labels, given.strip().rstrip(","))))
            family.samples.append(f"{name}{{{every}}} {value}" if every else f"{name} {value}")


def _describe(families: dict[str, _Family], described: dict[str, _Family], line: str) -> None:
    """Take note of a `# HELP` or `# TYPE` line; the first target that describes a name is believed."""
    words = line.split(None, 3)
    if len(words) < 3 or words[0] != "#" or words[1] not in ("HELP", "TYPE"):
        return
    family = described[words[2]] = families.setdefault(words[2], _Family())
    said = words[3] if len(words) > 3 else ""
    if words[1] == "HELP":
        family.text = family.text or said
    elif said in _KINDS:
        family.kind = family.kind or said


def _family_name(name: str, described: Mapping[str, object]) -> str:
    if name in described:
        return name
    stems = (name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix))
    return next((stem for stem in stems if stem in described), name)


def _written(name: str, family: _Family) -> str:
    head = f"# HELP {name} {family.text}\n" if family.text else ""
    head += f"# TYPE {name} {family.kind}\n" if family.kind else ""
    return head + "\n".join(family.samples) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
