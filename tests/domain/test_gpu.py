"""How GPUs are asked for: everything that is read is written back, and everything else says what to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import gpu
from modelyard.domain.deployment import Resources
from modelyard.domain.errors import Invalid
from modelyard.domain.gpu import GpuRequest, Mode
from modelyard.domain.node import Gpu, Node
from modelyard.domain.placement import Claim, Placement, Request, Unfit, place

MODELS = st.lists(st.sampled_from(["T4", "V100", "A100-SXM4-40GB", "RTX 4090"]), max_size=3, unique=True)
WHOLE = st.builds(
    lambda count, models, mode: GpuRequest(count=count, models=tuple(models), mode=mode),
    st.integers(1, 64),
    MODELS,
    st.sampled_from([Mode.ANY, Mode.EXCLUSIVE, Mode.SHARED, Mode.VGPU]),
)
FRACTIONS = st.builds(
    lambda percent, models, cores: GpuRequest(
        count=1, percent=percent, models=tuple(models), cores_percent=cores
    ),
    st.integers(1, 99),
    MODELS,
    st.integers(0, 100),
)
MEMORY = st.builds(
    lambda count, mib, cores: GpuRequest(count=count, mem_mib=mib, cores_percent=cores),
    st.integers(1, 8),
    st.integers(1, 100_000),
    st.integers(0, 100),
)
PROFILES = st.builds(
    lambda count, models, mig: GpuRequest(count=count, models=tuple(models), mig=mig),
    st.integers(1, 7),
    MODELS,
    st.sampled_from(["1g.5gb", "1g.10gb", "7g.80gb", "1g.10gb+me"]),
)
NEARLY = r"[0-9.]{1,4}(\([a-zA-Z0-9|]{0,6}\))?(,[a-z]{3,5}=[0-9a-zA-Z.]{0,6})*"
REQUESTS = st.one_of(st.just(GpuRequest()), WHOLE, FRACTIONS, MEMORY, PROFILES)


@given(REQUESTS)
def test_what_is_written_is_read_back(request: GpuRequest) -> None:
    assert gpu.parse(gpu.write(request), "gpu") == request


@given(
    st.text(max_size=30)
    | st.from_regex(r"[0-9.]{1,4}(\([a-zA-Z0-9|]{0,6}\))?(,[a-z]{3,5}=[0-9a-zA-Z.]{0,6})*")
)
def test_anything_else_is_refused_by_its_field(text: str) -> None:
    try:
        found = gpu.parse(text, "spec.resources.gpu")
    except Invalid as error:
        assert error.errors[0].path == "spec.resources.gpu"  # noqa: PT017 - both outcomes are right
    else:
        assert gpu.parse(gpu.write(found), "gpu") == found


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("0", GpuRequest()),
        ("2", GpuRequest(count=2)),
        ("1(V100)", GpuRequest(count=1, models=("V100",))),
        ("1(T4|V100)", GpuRequest(count=1, models=("T4", "V100"))),
        ("0.2(T4)", GpuRequest(count=1, percent=20, models=("T4",))),
        ("0.2（T4）", GpuRequest(count=1, percent=20, models=("T4",))),
        ("mem=4Gi", GpuRequest(count=1, mem_mib=4096)),
        ("1(T4), mem=4Gi, cores=20", GpuRequest(count=1, models=("T4",), mem_mib=4096, cores_percent=20)),
        ("mig=1g.10gb", GpuRequest(count=1, mig="1g.10gb")),
        ("mode=shared", GpuRequest(count=1, mode=Mode.SHARED)),
    ],
)
def test_the_grammar(text: str, request_: GpuRequest) -> None:
    assert gpu.parse(text, "gpu") == request_


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("half", "write `2` for whole cards"),
        ("1.5", "write `2`"),
        ("1.0", "write `1`"),
        ("0.333", "finer than a hundredth"),
        ("0(T4)", "write `0` alone"),
        ("0,mem=1Gi", "write `0` alone"),
        ("cores=0", "write such as `cores=20`"),
        ("mig=big", "write such as `mig=1g.10gb`"),
        ("mode=fast", "write `exclusive`, `shared` or `vgpu`"),
        ("mem=0", "leave it out"),
        ("0.2,mig=1g.5gb", "leave out the fraction"),
        ("0.2,mem=1Gi", "write either"),
        ("0.5,mode=exclusive", "write a count"),
        ("mem=1Gi,mem=2Gi", "is not a request"),
        ("1()", "is not a number"),
        ("5000", "more than 1024"),
    ],
)
def test_mistakes_say_what_to_write(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=rf"^spec\.resources\.gpu: .*{said}"):
        Resources(gpu=text)


@pytest.mark.parametrize(
    ("product", "model", "fits"),
    [
        ("Tesla-T4", "T4", True),
        ("Tesla T4", "t4", True),
        ("Tesla-T4-SHARED", "T4", True),
        ("NVIDIA-T400", "T4", False),
        ("NVIDIA A100-SXM4-40GB", "A100", True),
        ("NVIDIA-A100-SXM4-40GB", "A100-SXM4-40GB", True),
        ("NVIDIA-A10", "A100", False),
        ("NVIDIA GeForce RTX 4090", "RTX 4090", True),
        ("NVIDIA-GeForce-RTX-4090", "RTX 4090", True),
    ],
)
def test_types_are_told_by_whole_words(product: str, model: str, fits: bool) -> None:
    assert gpu.is_model(product, (model,)) is fits


def _node(name: str, *cards: str) -> Node:
    found = tuple(Gpu(index=index, name=card, memory_bytes=0) for index, card in enumerate(cards))
    return Node(name=name, cpu_millis=4000, memory_bytes=2**30, gpus=found)


def test_a_type_is_placed_on_such_a_card_alone() -> None:
    wanted = Request.of(Resources(gpu="1(T4)"))
    nodes = [_node("a", "NVIDIA-A100", "Tesla-T4"), _node("b", "NVIDIA-A100")]
    assert place(wanted, nodes, ()) == Placement(node="a", gpus=(1,))
    busy = place(wanted, nodes, [Claim(node="a", gpus=(1,))])
    assert isinstance(busy, Unfit)
    assert busy.message == "insufficient nvidia.com/gpu of type T4: needs 1, free 0"
    assert not busy.impossible


def test_a_type_that_nobody_has_is_answered_with_what_there_is() -> None:
    found = place(Request.of(Resources(gpu="1(V100)")), [_node("a", "Tesla-T4", "Tesla-T4")], ())
    assert isinstance(found, Unfit)
    assert found.impossible
    assert "0 GPUs of type V100; the cards there are: Tesla-T4 (2)" in found.message


@given(REQUESTS.filter(lambda request: request.divided))
def test_parts_are_refused_where_cards_are_whole(request: GpuRequest) -> None:
    assert "use a cluster with" in gpu.whole_only(request)
    assert Request.of(Resources(gpu=gpu.write(request))).computes_on_gpus
    assert Request.of(Resources(gpu=gpu.write(request))).gpus == 0
