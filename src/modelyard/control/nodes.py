"""Nodes: the machines, and what is free on them."""

from __future__ import annotations

from modelyard.control import authorise
from modelyard.control.platform import Platform
from modelyard.domain.access import Actor, Resource, Verb
from modelyard.domain.node import Node

KIND = "node"


async def list(platform: Platform, actor: Actor) -> tuple[Node, ...]:
    """The machines there are, with capacity and GPUs."""
    await authorise.require(platform, actor, Verb.READ, Resource(), kind=KIND)
    return await platform.backend.nodes()
