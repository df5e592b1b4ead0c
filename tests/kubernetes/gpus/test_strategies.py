"""Which way of a cluster serves a request, what it adds to pods, and that every version takes that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.kubernetes.capabilities import Capabilities, Gpus, Partition
from modelyard.backends.kubernetes.gpus.facts import with_nodes
from modelyard.backends.kubernetes.gpus.fragment import Fragment, Refusal, told
from modelyard.backends.kubernetes.gpus.merging import with_gpus
from modelyard.backends.kubernetes.gpus.strategies import pods_of
from modelyard.backends.kubernetes.nodes import node_of
from modelyard.domain import gpu
from tests.domain.test_gpu import REQUESTS
from tests.support.cluster import schemas
from tests.support.cluster.control import add_node
from tests.support.cluster.gpus import add_gpu_node
from tests.support.cluster.verbs import Cluster, Options

TEMPLATE = {
    "metadata": {"labels": {"app": "x"}},
    "spec": {
        "containers": [{"name": "server", "image": "i", "resources": {"limits": {"memory": "1Gi"}}}],
        "initContainers": [{"name": "fetch", "image": "i"}],
    },
}
PRODUCTS = frozenset({"Tesla-T4", "NVIDIA-A100-SXM4-40GB"})
PLAIN = Gpus(resources=frozenset({"nvidia.com/gpu"}), products=PRODUCTS)
HAMI = Gpus(resources=frozenset({"nvidia.com/gpu"}), products=PRODUCTS, hami=True)
VOLCANO = Gpus(resources=frozenset({"volcano.sh/vgpu-number"}), products=PRODUCTS)
FIFTHS = Gpus(
    resources=frozenset({"nvidia.com/gpu.shared"}),
    products=frozenset({"Tesla-T4-SHARED"}),
    parts=5,
    sharing="time-slicing",
)
MPS = Gpus(resources=FIFTHS.resources, products=FIFTHS.products, parts=5, sharing="mps")
MIG = Gpus(resources=frozenset({"nvidia.com/mig-1g.5gb"}), products=PRODUCTS)
CUT = Gpus(
    resources=frozenset({"nvidia.com/mig-1g.10gb", "nvidia.com/mig-2g.10gb", "nvidia.com/mig-3g.20gb"}),
    products=PRODUCTS,
    partitions=frozenset(
        Partition(product="NVIDIA-A100-SXM4-40GB", profile=f"{slices}g.{size}gb", memory_mib=size * 1024,
                  memory_percent=size / 0.4, cores_percent=slices / 0.07)
        for slices, size in ((1, 10), (2, 10), (3, 20))
    ),
)  # fmt: skip
KAI = Gpus(resources=frozenset({"nvidia.com/gpu"}), products=PRODUCTS, kai=True)
EMPTY = Cluster(schemas.load(schemas.VERSIONS[-1]), clock=lambda: 0.0)
EVERY = [Gpus(), PLAIN, HAMI, VOLCANO, FIFTHS, MPS, MIG, CUT, KAI]


def of(text: str, gpus: Gpus) -> Fragment:
    found = pods_of(gpu.parse(text, "gpu"), Capabilities(gpus=gpus))
    assert isinstance(found, Fragment), found
    return found


def refused(text: str, gpus: Gpus) -> str:
    found = pods_of(gpu.parse(text, "gpu"), Capabilities(gpus=gpus))
    assert isinstance(found, Refusal), found
    return found.message


@pytest.mark.parametrize(
    ("text", "gpus", "strategy", "limits"),
    [
        ("2", PLAIN, "device plugin", {"nvidia.com/gpu": "2"}),
        (
            "1", HAMI, "device plugin",
            {"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "100", "nvidia.com/gpucores": "100"},
        ),
        (
            "0.2(T4)", HAMI, "HAMi",
            {"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "20", "nvidia.com/gpucores": "20"},
        ),
        ("mem=3000Mi", HAMI, "HAMi", {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "3000"}),
        (
            "mem=3000Mi,cores=20", VOLCANO, "Volcano vGPU",
            {"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "3000", "volcano.sh/vgpu-cores": "20"},
        ),
        ("0.2(T4)", FIFTHS, "time-slicing", {"nvidia.com/gpu.shared": "1"}),
        ("mode=shared", FIFTHS, "time-slicing", {"nvidia.com/gpu.shared": "1"}),
        ("0.2,mode=vgpu", MPS, "MPS", {"nvidia.com/gpu.shared": "1"}),
        ("2,mig=1g.5gb", MIG, "MIG", {"nvidia.com/mig-1g.5gb": "2"}),
        ("0.2(A100)", CUT, "MIG", {"nvidia.com/mig-2g.10gb": "1"}),
        ("0.14(A100)", CUT, "MIG", {"nvidia.com/mig-1g.10gb": "1"}),
        ("mem=6Gi", CUT, "MIG", {"nvidia.com/mig-1g.10gb": "1"}),
        ("2,mem=6Gi,cores=40", CUT, "MIG", {"nvidia.com/mig-3g.20gb": "2"}),
        ("0.2,mode=vgpu", CUT, "MIG", {"nvidia.com/mig-2g.10gb": "1"}),
        ("0.25", KAI, "KAI", {}),
    ],
)  # fmt: skip
def test_the_way_and_its_amounts(text: str, gpus: Gpus, strategy: str, limits: dict[str, str]) -> None:
    found = of(text, gpus)
    assert (found.strategy, dict(found.limits)) == (strategy, limits)


@pytest.mark.parametrize(
    ("text", "gpus", "said"),
    [
        ("0.2", PLAIN, "HAMi: its scheduler and device plugin; Volcano vGPU: its vGPU device plugin; MIG: "),
        ("0.35", FIFTHS, "a fraction of 1/5: cards have 5 parts, and nothing is rounded"),
        ("0.4", FIFTHS, "a fraction of 1/5"),
        ("2,mode=shared", FIFTHS, "one part only"),
        ("0.2,mode=vgpu", FIFTHS, "which time-slicing does not do"),
        ("0.2", VOLCANO, "the memory in place of a fraction"),
        ("mig=2g.10gb", MIG, "nodes with the profile 2g.10gb; there are: 1g.5gb"),
        (
            "0.5(A100)", CUT,
            "MIG: a partition of type A100 of at least 50 % of a card; there are: 1g.10gb (25 % of the "
            "memory and 14 % of the cores of NVIDIA-A100-SXM4-40GB), 2g.10gb (25 %",
        ),
        ("0.2(T4)", CUT, "MIG: a partition of type T4 of at least 20 % of a card; there are: none"),
        ("mem=30Gi", CUT, "MIG: a partition of at least 30720 MiB; there are: 1g.10gb"),
        ("mode=vgpu", CUT, "MIG: a profile or a fraction, as in `mig=1g.10gb` or `0.2`"),
        ("0.2(V100)", HAMI, "a card of type V100; there are: NVIDIA-A100-SXM4-40GB, Tesla-T4"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_every_way_would_need(text: str, gpus: Gpus, said: str) -> None:
    assert said in refused(text, gpus)


def test_a_type_is_resolved_against_what_nodes_are_called() -> None:
    term = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["Tesla-T4"]}
    assert of("1(T4)", PLAIN).node_terms == (term,)


def test_a_fraction_goes_to_cards_whose_partitions_are_large_enough() -> None:
    nodes = [
        add_gpu_node(EMPTY, "small", "a100", slices={"1g.10gb": 4}),
        add_gpu_node(EMPTY, "large", "h100", slices={"1g.10gb": 7}),
    ]
    known = with_nodes(Capabilities(), nodes).gpus
    found = of("0.14", known)
    assert found.limits == {"nvidia.com/mig-1g.10gb": "1"}
    term = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-A100-SXM4-40GB"]}
    assert found.node_terms == (term,), "of an H100 the same profile is an eighth of the memory"
    assert of("0.12", known).node_terms[0]["values"] == ["NVIDIA-A100-SXM4-40GB", "NVIDIA-H100-80GB-HBM3"]
    assert told(gpu.parse("0.14", "gpu"), found) == (
        "`0.14` is given out by MIG as 1g.10gb, 25 % of the memory and 14 % of the cores of "
        "NVIDIA-A100-SXM4-40GB; memory is kept apart by hardware, computing time by hardware"
    )


def test_what_nothing_keeps_apart_is_said() -> None:
    said = told(gpu.parse("0.2", "gpu"), of("0.2", FIFTHS))
    assert "by time-slicing; nothing keeps its memory apart; computing time: turns, not enforced" in said


def test_a_type_may_be_said_by_a_label_of_ones_own() -> None:
    there = Cluster(schemas.load(schemas.VERSIONS[-1]), clock=lambda: 0.0)
    nodes = [
        add_gpu_node(there, "t4", "t4"),
        add_node(there, "old", labels={"gpu": "nvidia-tesla-p100"}, nvidia_com__gpu="2"),
        add_node(there, "on", labels={"gpu": "true", "gpu-type": "V100"}, nvidia_com__gpu="1"),
    ]
    known = with_nodes(Capabilities(), nodes).gpus
    term = {"key": "gpu", "operator": "In", "values": ["nvidia-tesla-p100"]}
    assert of("1(P100)", known).node_terms == (term,)
    assert of("1(V100)", known).node_terms == ({"key": "gpu-type", "operator": "In", "values": ["V100"]},)
    assert of("1(T4)", known).node_terms[0]["key"] == "nvidia.com/gpu.product"
    assert of("1(A100)", known).node_terms[0]["values"] == ["A100"], "it waits until there is one"
    assert [node_of(each).gpus[0].name for each in nodes] == ["Tesla-T4", "nvidia-tesla-p100", "V100"]


def test_whole_cards_are_not_taken_from_divided_ones() -> None:
    mixed = Gpus(resources=PLAIN.resources, products=PRODUCTS | {"Tesla-T4-SHARED"}, parts=5)
    term = {"key": "nvidia.com/gpu.product", "operator": "NotIn", "values": ["Tesla-T4-SHARED"]}
    assert of("1", mixed).node_terms == (term,)
    assert of("1(T4)", mixed).node_terms[0]["values"] == ["Tesla-T4"]


@pytest.mark.parametrize(("cdi", "hidden"), [(False, "none"), (True, "void")])
def test_who_asks_for_none_sees_none(cdi: bool, hidden: str) -> None:
    made = with_gpus(TEMPLATE, of("0", Gpus(cdi=cdi)))
    for each in (*made["spec"]["containers"], *made["spec"]["initContainers"]):
        assert each["env"] == [{"name": "NVIDIA_VISIBLE_DEVICES", "value": hidden}]


def test_what_stands_beside_a_container_with_cards_sees_none() -> None:
    made = with_gpus(TEMPLATE, of("1", PLAIN))
    assert "env" not in made["spec"]["containers"][0]
    assert made["spec"]["initContainers"][0]["env"] == [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "none"}]


@given(REQUESTS, st.sampled_from(EVERY))
def test_nothing_is_rounded_and_nothing_given_without_asking(request: gpu.GpuRequest, gpus: Gpus) -> None:
    found = pods_of(request, Capabilities(gpus=gpus))
    if isinstance(found, Refusal):
        assert request.divided
        assert gpu.write(request) in found.message
        return
    assert bool(found.env) == (request.count == 0)
    if not request.divided:
        assert found.limits.get("nvidia.com/gpu", "0") == str(request.count)
    if request.percent:
        enough = found.strategy == "MIG" and any(
            each.memory_percent >= request.percent and each.cores_percent >= request.percent
            for each in gpus.partitions
            if f"nvidia.com/mig-{each.profile}" in found.limits
        )
        exact = found.limits.get("nvidia.com/gpumem-percentage") == str(request.percent)
        part = found.strategy in ("time-slicing", "MPS") and request.percent * gpus.parts == 100
        said = float(found.annotations.get("gpu-fraction", 0)) == request.percent / 100
        assert exact or part or said or enough


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("1(T4)", PLAIN),
        ("0.2(T4)", HAMI),
        ("mem=1Gi", VOLCANO),
        ("0.2", FIFTHS),
        ("mig=1g.5gb", MIG),
        ("0.2", CUT),
        ("0.5", KAI),
    ],
)
def test_every_version_takes_the_pod(version: str, text: str, gpus: Gpus) -> None:
    there = Cluster(schemas.load(version), clock=lambda: 0.0)
    there.create(there.kind("Namespace"), "", {"metadata": {"name": "x"}}, Options(manager="test"))
    made = with_gpus(TEMPLATE, of(text, gpus))
    manifest = {"apiVersion": "v1", "kind": "Pod", **made}
    manifest["metadata"] = {**made["metadata"], "name": "pod", "namespace": "x"}
    there.create(there.kind("Pod"), "x", manifest, Options(manager="test", validation="Strict"))


def test_facts_are_read_from_nodes() -> None:
    there = Cluster(schemas.load(schemas.VERSIONS[-1]), clock=lambda: 0.0)
    nodes = [
        add_gpu_node(there, "t4", "t4", shared=5),
        add_gpu_node(there, "a100", "a100", slices={"1g.5gb": 7}),
    ]
    found = with_nodes(Capabilities(), nodes).gpus
    assert found.products == {"Tesla-T4-SHARED", "NVIDIA-A100-SXM4-40GB"}
    assert (found.parts, found.sharing, found.profiles) == (5, "time-slicing", ("1g.5gb",))
    assert of("0.2(T4)", found).limits == {"nvidia.com/gpu": "1"}
    assert not found.hami
