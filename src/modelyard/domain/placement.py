"""Where a replica can run: requests against what nodes have and what is held already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from modelyard.domain import gpu, quantity
from modelyard.domain.deployment import Failure, Phase, Replica, Resources
from modelyard.domain.node import Node, NodeClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one replica needs; zeros reserve nothing."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    """Whole cards."""
    models: tuple[str, ...] = ()
    """Any of these types of card; empty for all."""
    part: str = ""
    """What it asks of a part of a card, for which the cluster's scheduler finds a place."""

    @classmethod
    def of(cls, resources: Resources) -> Request:
        """The request that a spec's resources write down."""
        wanted = gpu.parse(resources.gpu, "resources.gpu")
        return cls(
            cpu_millis=quantity.parse_cpu(resources.cpu, "resources.cpu"),
            memory_bytes=quantity.parse_memory(resources.memory, "resources.memory"),
            gpus=wanted.whole,
            models=wanted.models if wanted.whole else (),
            part=gpu.write(wanted) if wanted.divided else "",
        )

    @property
    def computes_on_gpus(self) -> bool:
        """Whether it has anything of a GPU."""
        return bool(self.gpus or self.part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What something already holds on a node."""

    node: str = ""
    """Empty counts against every node, as nobody knows better."""
    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A node and the GPUs on it that a replica may have."""

    node: str
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Why there is no place."""

    message: str
    """Such as `insufficient memory: needs 3Gi, free 1.2Gi`."""
    impossible: bool = False
    """No node could take it, even an empty one."""

    @property
    def failure(self) -> Failure:
        """The same as a failure of the catalogue."""
        return Failure(reason="InsufficientResources", message=self.message)


def claims(replicas: Iterable[Replica]) -> tuple[Claim, ...]:
    """What these replicas hold; a failed one's processes are gone, so it holds nothing."""
    return tuple(
        Claim(node=r.node, cpu_millis=r.cpu_millis, memory_bytes=r.memory_reserved, gpus=r.gpus)
        for r in replicas
        if r.phase is not Phase.FAILED
    )


def place(
    request: Request,
    nodes: Sequence[Node],
    held: Sequence[Claim],
    *,
    node_class: NodeClass = NodeClass.DEPLOY,
) -> Placement | Unfit:
    """The best place for one replica, or why there is none.

    Nodes already in use come first, so that whole nodes and GPUs stay free for what needs them;
    work without GPUs prefers nodes that have none.
    """
    candidates = [node for node in nodes if node_class in node.classes and node.ready]
    if not candidates:
        return Unfit(message=f"no node of class {node_class}", impossible=True)
    free = [_free(node, held, request.models) for node in candidates]
    fitting = [room for room in free if not room.lacks(request)]
    if not fitting:
        return _unfit(request, candidates, free)
    best = min(fitting, key=lambda room: (room.cards, room.cpu_millis, room.memory_bytes, room.node))
    return Placement(node=best.node, gpus=best.gpus[: request.gpus])


def place_all(
    request: Request,
    nodes: Sequence[Node],
    held: Sequence[Claim],
    *,
    count: int,
    node_class: NodeClass = NodeClass.DEPLOY,
) -> tuple[tuple[Placement, ...], Unfit | None]:
    """Places for up to `count` replicas side by side, and why there are no more."""
    taken = list(held)
    found: list[Placement] = []
    while len(found) < count:
        place_or_not = place(request, nodes, taken, node_class=node_class)
        if isinstance(place_or_not, Unfit):
            return tuple(found), place_or_not
        found.append(place_or_not)
        taken.append(claim(request, place_or_not))
    return tuple(found), None


def claim(request: Request, placement: Placement) -> Claim:
    """What a replica holds once it is placed."""
    return Claim(
        node=placement.node,
        cpu_millis=request.cpu_millis,
        memory_bytes=request.memory_bytes,
        gpus=placement.gpus,
    )


@dataclass(frozen=True, slots=True)
class _Room:
    """What is left on a node."""

    node: str
    cpu_millis: int
    memory_bytes: int
    gpus: tuple[int, ...]
    """Free ones of the types that will do."""
    cards: int
    """Free ones of any type."""

    def lacks(self, request: Request) -> tuple[str, ...]:
        """What it has too little of, in words; empty when the request fits."""
        return tuple(_lacking(self, request))


def _free(node: Node, held: Sequence[Claim], models: Sequence[str] = ()) -> _Room:
    here = [c for c in held if c.node in ("", node.name)]
    busy = {index for c in here for index in c.gpus}
    free = [each for each in node.gpus if each.index not in busy]
    return _Room(
        node.name,
        node.cpu_millis - sum(c.cpu_millis for c in here),
        node.memory_bytes - sum(c.memory_bytes for c in here),
        tuple(sorted(each.index for each in free if gpu.is_model(each.name, models))),
        len(free),
    )


def _lacking(room: _Room, request: Request) -> Iterator[str]:
    if request.cpu_millis > max(room.cpu_millis, 0):
        needs, free = quantity.format_cpu(request.cpu_millis), quantity.format_cpu(max(room.cpu_millis, 0))
        yield f"insufficient cpu: needs {needs}, free {free}"
    if request.memory_bytes > max(room.memory_bytes, 0):
        yield "insufficient memory: " + _memory(request.memory_bytes, max(room.memory_bytes, 0))
    if request.gpus > len(room.gpus):
        kind = f" of type {' or '.join(request.models)}" if request.models else ""
        yield f"insufficient nvidia.com/gpu{kind}: needs {request.gpus}, free {len(room.gpus)}"


def _memory(needs: int, free: int) -> str:
    """Both amounts in words that differ, though rounding could make them look the same."""
    words = quantity.format_memory(needs), quantity.format_memory(free)
    shown = words if words[0] != words[1] else (str(needs), str(free))
    return f"needs {shown[0]}, free {shown[1]}"


def _unfit(request: Request, nodes: Sequence[Node], free: Sequence[_Room]) -> Unfit:
    """Speaks of the node that comes nearest, and says when waiting cannot help."""
    nearest = min(free, key=lambda room: (len(room.lacks(request)), -room.memory_bytes, room.node))
    message = "; ".join(nearest.lacks(request))
    empty = [_free(node, (), request.models) for node in nodes]
    if any(not room.lacks(request) for room in empty):
        return Unfit(message=message)
    largest = min(empty, key=lambda room: (len(room.lacks(request)), -room.memory_bytes, room.node))
    return Unfit(
        message=f"{message}; even an empty node has only cpu {quantity.format_cpu(largest.cpu_millis)}, "
        f"memory {quantity.format_memory(largest.memory_bytes)}, {len(largest.gpus)} GPUs"
        + _cards(request, nodes),
        impossible=True,
    )


def _cards(request: Request, nodes: Sequence[Node]) -> str:
    """Which cards there are, for one who asked for others."""
    if not request.models:
        return ""
    counted = Counter(card.name for node in nodes for card in node.gpus)
    there = ", ".join(f"{name} ({number})" for name, number in sorted(counted.items()))
    return f" of type {' or '.join(request.models)}; the cards there are: {there or 'none'}"
