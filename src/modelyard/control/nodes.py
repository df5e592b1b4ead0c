"""Nodes: the machines, what is free on them, who holds it, and what they may be used for."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from modelyard.control import authorise
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Resource, Verb, may
from modelyard.domain.deployment import Key, Phase, Replica
from modelyard.domain.errors import FieldError, Invalid, NotFound
from modelyard.domain.node import Node, NodeClass

KIND = "node"
OTHERS = "another project"
"""Stands for what the caller may not read."""


async def list(platform: Platform, actor: Actor) -> tuple[Node, ...]:
    """The machines there are, with capacity, GPUs, and the replicas that hold them.

    Of projects that the caller may not read it is said how much they hold, and not who they are.
    """
    await authorise.require(platform, actor, Verb.READ, Resource(), kind=KIND)
    nodes = await platform.backend.nodes()
    held = [
        (key, replica)
        for key in sorted(await platform.backend.keys(), key=str)
        for replica in await platform.backend.observe(key)
        if replica.phase is not Phase.FAILED
    ]
    known = frozenset(key for key, _ in held if may(actor, Verb.READ, Resource(project=key.project)))
    return tuple(occupied(node, held, known, alone=len(nodes) == 1) for node in nodes)


async def get(platform: Platform, actor: Actor, name: str) -> Node:
    """One machine; raises NotFound with the names that there are."""
    nodes = await list(platform, actor)
    found = next((node for node in nodes if node.name == name), None)
    if found is None:
        raise NotFound(f"no node {name[:60]}; there are: {', '.join(node.name for node in nodes) or 'none'}")
    return found


async def classify(platform: Platform, actor: Actor, name: str, classes: Sequence[str]) -> Node:
    """Say what a node may be used for: control, compute, deploy, or several of them."""
    await authorise.require(platform, actor, Verb.ADMINISTER, Resource(), kind=KIND, name=name)
    wrong = [each for each in classes if each not in tuple(NodeClass)]
    if wrong or not classes:
        message = f"must be one or more of {', '.join(NodeClass)}"
        message += f", not {wrong[0][:40]!a}" if wrong else ""
        raise Invalid(f"classes: {message}", errors=[FieldError("classes", message)])
    chosen = frozenset(map(NodeClass, classes))
    await get(platform, actor, name)
    await platform.backend.classify(name, chosen)
    told = tuple(each for each in NodeClass if each in chosen)
    # What is followed of the cluster may not have heard of it yet.
    return replace(await get(platform, actor, name), classes=told)


def occupied(node: Node, held: Sequence[tuple[Key, Replica]], known: Container[Key], *, alone: bool) -> Node:
    """The node with what the platform's replicas hold of it, by name those that are `known`; pure."""
    here = [(key, each) for key, each in held if each.node == node.name or (alone and not each.node)]
    holders = {
        gpu: f"{key.project}/{key.service}" if key in known else OTHERS
        for key, each in here
        for gpu in each.gpus
    }
    return replace(
        node,
        gpus=tuple(replace(gpu, holder=holders.get(gpu.index, "")) for gpu in node.gpus),
        reserved_cpu_millis=sum(each.cpu_millis for _, each in here),
        reserved_memory_bytes=sum(each.memory_reserved for _, each in here),
        replicas=tuple(
            f"{key.project}/{key.service}/{each.name}" if key in known else OTHERS for key, each in here
        ),
    )
