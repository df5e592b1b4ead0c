"""Where replicas may run, and why they may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.deployment import Phase, Resources
from modelyard.domain.node import Gpu, Node, NodeClass
from modelyard.domain.placement import Claim, Placement, Request, Unfit, claim, claims, place, place_all
from tests.domain.make import replica

GI = 2**30


def node(name: str = "here", *, cpu: int = 4000, memory: int = 4 * GI, gpus: int = 0) -> Node:
    cards = tuple(Gpu(index=i, name="T4", memory_bytes=16 * GI) for i in range(gpus))
    return Node(name=name, cpu_millis=cpu, memory_bytes=memory, gpus=cards)


def why(request: Request, *nodes: Node, held: tuple[Claim, ...] = ()) -> str:
    answer = place(request, nodes, held)
    assert isinstance(answer, Unfit)
    return answer.message


def test_what_is_lacking_is_said_in_the_users_units() -> None:
    held = (Claim(node="here", cpu_millis=2500, memory_bytes=4 * GI - 1300 * 2**20),)
    memory = why(Request(memory_bytes=3 * GI), node(), held=held)
    assert memory == "insufficient memory: needs 3Gi, free 1.2Gi"
    assert why(Request(cpu_millis=2000), node(), held=held) == "insufficient cpu: needs 2, free 1.5"


def test_a_busy_gpu_is_waited_for() -> None:
    card = (Claim(node="here", gpus=(0,)),)
    message = "insufficient nvidia.com/gpu: needs 1, free 0"
    assert place(Request(gpus=1), [node(gpus=1)], card) == Unfit(message=message)
    assert place(Request(gpus=1), [node(gpus=1)], ()) == Placement(node="here", gpus=(0,))


def test_an_impossible_size_says_that_waiting_cannot_help() -> None:
    answer = place(Request(cpu_millis=64_000), [node()], [Claim(node="here", cpu_millis=2500)])
    assert isinstance(answer, Unfit)
    assert answer.impossible
    lacking = "insufficient cpu: needs 64, free 1.5; even an empty node has only cpu 4,"
    assert answer.message.startswith(lacking)
    assert answer.failure.reason == "InsufficientResources"


def test_everything_that_is_lacking_is_named_at_once() -> None:
    message = why(Request(cpu_millis=9000, memory_bytes=9 * GI, gpus=2), node())
    assert "cpu: needs 9" in message
    assert "memory: needs 9Gi" in message
    assert "gpu: needs 2, free 0" in message


def test_amounts_that_look_alike_are_written_out() -> None:
    assert "needs 1073741825, free 1073741824" in why(Request(memory_bytes=GI + 1), node(memory=GI))


def test_only_nodes_of_the_class_are_considered() -> None:
    compute = replace(node(), classes=(NodeClass.COMPUTE,))
    assert why(Request(), compute) == "no node of class deploy"
    assert place(Request(), [compute], (), node_class=NodeClass.COMPUTE) == Placement(node="here")


def test_gpus_are_packed_onto_the_node_in_use() -> None:
    nodes = [node("a", gpus=4), node("b", gpus=4)]
    held = [Claim(node="b", gpus=(1,))]
    assert place(Request(gpus=2), nodes, held) == Placement(node="b", gpus=(0, 2))
    assert place(Request(gpus=4), nodes, held) == Placement(node="a", gpus=(0, 1, 2, 3))


def test_work_without_gpus_leaves_gpu_nodes_free() -> None:
    assert place(Request(cpu_millis=1), [node("a", gpus=1), node("b")], ()) == Placement(node="b")


def test_reserving_nothing_always_fits() -> None:
    over = [Claim(node="here", cpu_millis=99_000, memory_bytes=99 * GI)]
    assert place(Request(), [node()], over) == Placement(node="here")


def test_a_failed_replica_holds_nothing_and_a_leaving_one_everything() -> None:
    gone = replica(phase=Phase.FAILED, gpus=(0,), cpu_millis=1)
    leaving = replica(phase=Phase.STOPPING, gpus=(1,), cpu_millis=2, memory_reserved=3, node="here")
    assert claims([gone, leaving]) == (Claim(node="here", cpu_millis=2, memory_bytes=3, gpus=(1,)),)


def test_several_replicas_do_not_get_the_same_gpu() -> None:
    places, unfit = place_all(Request(gpus=1), [node(gpus=2)], (), count=3)
    assert [p.gpus for p in places] == [(0,), (1,)]
    assert unfit is not None
    assert unfit.message == "insufficient nvidia.com/gpu: needs 1, free 0"


def test_a_request_is_read_from_a_spec() -> None:
    resources = Resources(cpu="0.5", memory="1Gi", gpu="2")
    assert Request.of(resources) == Request(cpu_millis=500, memory_bytes=GI, gpus=2)


REQUESTS = st.builds(
    Request, cpu_millis=st.integers(0, 3000), memory_bytes=st.integers(0, 3 * GI), gpus=st.integers(0, 3)
)
NODES = st.lists(
    st.tuples(st.integers(0, 6000), st.integers(0, 6 * GI), st.integers(0, 4)), min_size=1, max_size=3
)


@given(NODES, st.lists(REQUESTS, max_size=12))
def test_nothing_is_ever_promised_twice(sizes: list[tuple[int, int, int]], requests: list[Request]) -> None:
    nodes = [node(f"n{i}", cpu=c, memory=m, gpus=g) for i, (c, m, g) in enumerate(sizes)]
    held: list[Claim] = []
    for request in requests:
        answer = place(request, nodes, held)
        if isinstance(answer, Placement):
            assert len(answer.gpus) == request.gpus
            held.append(claim(request, answer))
        else:
            assert answer.message
    for each in nodes:
        here = [c for c in held if c.node == each.name]
        cards = [index for c in here for index in c.gpus]
        assert sum(c.cpu_millis for c in here) <= each.cpu_millis
        assert sum(c.memory_bytes for c in here) <= each.memory_bytes
        assert len(cards) == len(set(cards))
        assert set(cards) <= {gpu.index for gpu in each.gpus}


@pytest.mark.parametrize("cpu", [0, 1])
def test_a_claim_without_a_node_counts_everywhere(cpu: int) -> None:
    answer = place(Request(cpu_millis=4000), [node("a"), node("b")], [Claim(cpu_millis=cpu)])
    assert isinstance(answer, Unfit if cpu else Placement)
