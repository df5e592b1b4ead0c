"""Which way of a cluster serves a request, what it adds to pods, and that every version takes that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.kubernetes.capabilities import Capabilities, Gpus
from modelyard.backends.kubernetes.gpus.facts import with_nodes
from modelyard.backends.kubernetes.gpus.fragment import Fragment, Refusal
from modelyard.backends.kubernetes.gpus.merging import with_gpus
from modelyard.backends.kubernetes.gpus.strategies import pods_of
from modelyard.domain import gpu
from tests.domain.test_gpu import REQUESTS
from tests.support.cluster import schemas
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
KAI = Gpus(resources=frozenset({"nvidia.com/gpu"}), products=PRODUCTS, kai=True)
EVERY = [Gpus(), PLAIN, HAMI, VOLCANO, FIFTHS, MPS, MIG, KAI]


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
        ("0.2(V100)", HAMI, "a card of type V100; there are: NVIDIA-A100-SXM4-40GB, Tesla-T4"),
    ],
)
def test_a_refusal_says_what_every_way_would_need(text: str, gpus: Gpus, said: str) -> None:
    assert said in refused(text, gpus)


def test_a_type_is_resolved_against_what_nodes_are_called() -> None:
    term = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["Tesla-T4"]}
    assert of("1(T4)", PLAIN).node_terms == (term,)


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
        exact = found.limits.get("nvidia.com/gpumem-percentage") == str(request.percent)
        part = found.strategy in ("time-slicing", "MPS") and request.percent * gpus.parts == 100
        said = float(found.annotations.get("gpu-fraction", 0)) == request.percent / 100
        assert exact or part or said


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("1(T4)", PLAIN),
        ("0.2(T4)", HAMI),
        ("mem=1Gi", VOLCANO),
        ("0.2", FIFTHS),
        ("mig=1g.5gb", MIG),
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
