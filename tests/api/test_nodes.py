"""Nodes over HTTP: who holds what, unknown ones, and classes that one machine has all of."""

from __future__ import annotations

import httpx2

from modelyard.control.nodes import occupied
from modelyard.domain.deployment import Key
from modelyard.domain.node import Gpu, Node
from tests.domain.make import replica

NODES = "/api/v1/nodes"


async def test_a_node_is_shown_and_an_unknown_one_is_told(admin: httpx2.AsyncClient) -> None:
    (node,) = (await admin.get(NODES)).json()["items"]
    shown = (await admin.get(f"{NODES}/{node['name']}")).json()
    assert shown["ready"]
    assert shown["replicas"] == []
    missing = await admin.get(f"{NODES}/nothing")
    assert missing.status_code == 404
    assert node["name"] in missing.json()["detail"]


async def test_one_machine_has_every_class_and_says_so(admin: httpx2.AsyncClient) -> None:
    (node,) = (await admin.get(NODES)).json()["items"]
    wanted = await admin.put(f"{NODES}/{node['name']}/classes", json={"classes": ["deploy"]})
    assert wanted.status_code == 409
    assert "which has every class" in wanted.json()["detail"]
    wrong = await admin.put(f"{NODES}/{node['name']}/classes", json={"classes": ["gpu"]})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["path"] == "classes"


def test_who_holds_which_card() -> None:
    cards = tuple(Gpu(index=index, name="T4", memory_bytes=0) for index in range(2))
    node = Node(name="a", cpu_millis=4000, memory_bytes=2**30, gpus=cards)
    held = [(Key("default", "churn"), replica("churn-1", node="a", gpus=(1,), cpu_millis=500))]
    found = occupied(node, held, frozenset(key for key, _ in held), alone=False)
    assert [card.holder for card in found.gpus] == ["", "default/churn"]
    assert (found.reserved_cpu_millis, found.replicas) == (500, ("default/churn/churn-1",))
    elsewhere = [(held[0][0], replica("x", node="b", gpus=(1,)))]
    assert occupied(node, elsewhere, frozenset(), alone=False).replicas == ()
