"""Which pod is which replica: names are ours, pods come and go as the cluster likes; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A pod as far as names go."""

    pod: str
    replica: str = ""
    """Which replica it was said to be; empty for one that is new."""
    leaving: bool = False
    """Whether it is being deleted."""
    created: str = ""
    """When, so that the oldest is named first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What follows for each pod."""

    by_name: Mapping[str, str] = field(default_factory=dict)
    """Wanted replica to the pod that is it; replicas without a pod are not in it."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Pods that have to be told which replica they are from now on."""
    unwanted: tuple[str, ...] = ()
    """Pods that are no wanted replica any more, or a second one of that name, and were not deleted yet."""
    leaving: Mapping[str, str] = field(default_factory=dict)
    """Pods that are being deleted, with the replica that each was."""


def assign(wanted: Sequence[str], pods: Iterable[Held]) -> Assignment:
    """Who is who.

    A pod keeps its name for life. One that was named and is not wanted any more never becomes another
    replica: it was drained, or it failed. New pods get the names that have none, the oldest first.
    """
    ordered = sorted(pods, key=lambda held: (held.created, held.pod))
    staying = [held for held in ordered if not held.leaving]
    by_name: dict[str, str] = {}
    unwanted: list[str] = []
    for held in staying:
        if not held.replica:
            continue
        if held.replica in wanted and held.replica not in by_name:
            by_name[held.replica] = held.pod
        else:
            unwanted.append(held.pod)
    free = (name for name in wanted if name not in by_name)
    new = (held.pod for held in staying if not held.replica)
    named = dict(zip(new, list(free), strict=False))
    return Assignment(
        by_name={**by_name, **{name: pod for pod, name in named.items()}},
        named=named,
        unwanted=tuple(unwanted),
        leaving={held.pod: held.replica for held in ordered if held.leaving},
    )
