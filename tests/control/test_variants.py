"""The decision about a compiled variant: what the guest says, what is kept, what a deployment runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.artifacts import LocalArtifacts
from modelyard.backends.base import Answer, Guest
from modelyard.backends.memory import ManualClock
from modelyard.control import variants
from modelyard.control.controller import prepare
from modelyard.control.platform import Platform
from modelyard.domain.deployment import DeploymentSpec, Failure, Resources
from modelyard.domain.errors import Refused
from modelyard.domain.model import Artifact, Format
from modelyard.domain.variant import Optimization, Optimize, Serve, Variant, described
from tests.control.world import HOST, World, build, version
from tests.support.inline import InlineDatabase

PARITY = {"rows": 900, "label_mismatches": 0, "max_abs_error": 1e-16, "tolerance": 1e-5, "held": True}
SPEED = [
    {"batch": 1, "original_seconds": 0.003, "variant_seconds": 0.00001},
    {"batch": 100, "original_seconds": 0.003, "variant_seconds": 0.0005},
]
SAID = {
    "chosen": "onnx",
    "reason": "answers as the original does",
    "candidates": [{"kind": "onnx", "reason": "", "parity": PARITY, "speed": SPEED}],
}


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = build(InlineDatabase(), now=ManualClock())
    await prepare(made.platform)
    return replace(made, platform=replace(made.platform, artifacts=LocalArtifacts(tmp_path / "artifacts")))


def asked(wanted: Optimize = Optimize.AUTO, **fields: Any) -> Artifact:
    (artifact,) = version("default", "churn", "1").artifacts
    return replace(
        artifact, algorithm="RandomForestClassifier", optimization=Optimization(wanted=wanted), **fields
    )


def write(path: Path, operator: str = "Identity") -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph), str(path / "variant.onnx"))


def answer(**said: Any) -> Answer:
    return Answer(result={"optimization": SAID | said})


async def test_a_variant_is_kept_with_what_was_measured(world: World, tmp_path: Path) -> None:
    write(tmp_path)
    kept = await variants.settle(world.platform, asked(), answer(), tmp_path)
    assert kept.optimization.chosen is Variant.ONNX
    assert kept.optimization.is_quick
    assert kept.optimization.row_seconds == pytest.approx((0.0005 - 0.00001) / 99)
    assert described(kept.optimization) == (
        "onnx: 300.0x for 1, 6.0x for 100 rows; 0 labels differ in 900 rows, largest error 1.0e-16"
    )
    (file,) = kept.variant
    assert (await world.platform.artifacts.tree(kept.variant) / file.path).is_file()


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan", "NonMaxSuppression"])
async def test_a_graph_with_unusual_operators_is_not_kept(
    world: World, tmp_path: Path, operator: str
) -> None:
    write(tmp_path, operator)
    kept = await variants.settle(world.platform, asked(), answer(), tmp_path)
    assert kept.variant == ()
    assert kept.optimization.chosen is Variant.ORIGINAL
    assert operator in kept.optimization.reason


@pytest.mark.parametrize("content", [b"", b"not a graph"])
async def test_a_damaged_file_is_not_kept(world: World, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "variant.onnx").write_bytes(content)
    kept = await variants.settle(world.platform, asked(), answer(), tmp_path)
    assert (kept.variant, kept.optimization.chosen) == ((), Variant.ORIGINAL)
    assert "damaged" in kept.optimization.reason


@pytest.mark.parametrize(
    "said", [None, 7, {}, {"chosen": "other"}, {"chosen": "onnx", "reason": "", "candidates": [{"kind": 3}]}]
)
async def test_what_a_guest_makes_up_leaves_the_original(world: World, tmp_path: Path, said: Any) -> None:
    got = Answer(result={"optimization": said})
    kept = await variants.settle(world.platform, asked(), got, tmp_path)
    assert kept.optimization.chosen is Variant.ORIGINAL
    assert kept.optimization.reason


async def test_a_compiler_that_was_killed_leaves_the_original(world: World, tmp_path: Path) -> None:
    ended = replace(answer(chosen=""), failure=Failure(reason="OutOfMemory", message="took too much"))
    kept = await variants.settle(world.platform, asked(), ended, tmp_path)
    assert kept.optimization.reason == "compiling was ended: took too much"


async def test_a_demanded_variant_that_cannot_be_had_is_refused_by_name(world: World, tmp_path: Path) -> None:
    got = answer(chosen="", reason="onnx: no parity: 3 labels differ in 900 rows")
    with pytest.raises(
        Refused, match="RandomForestClassifier has no onnx variant: onnx: no parity"
    ) as caught:
        await variants.settle(world.platform, asked(Optimize.ONNX), got, tmp_path)
    assert caught.value.errors[0].path == "optimize"


async def test_other_formats_are_not_compiled(world: World) -> None:
    artifact = asked(format=Format.PYTHON)
    async with variants.workplace(artifact) as (optimize, out):
        assert (optimize, out) == (Optimize.OFF, None)
    kept = await variants.settle(world.platform, artifact, Answer(result={}), None)
    assert kept.optimization.reason == "models of format python are not compiled"
    with pytest.raises(Refused, match="not compiled"):
        await variants.settle(
            world.platform, asked(Optimize.ONNX, format=Format.PYTHON), Answer(result={}), None
        )


async def test_nothing_is_asked_of_the_guest_when_it_is_off() -> None:
    async with variants.workplace(asked(Optimize.OFF)) as (optimize, out):
        assert (optimize, out) == (Optimize.OFF, None)


def with_packages(platform: Platform, **packages: str) -> Platform:
    class Environments:
        async def host(self) -> Any:
            return replace(HOST, packages={**HOST.packages, **packages})

    return replace(platform, environments=Environments())  # type: ignore[arg-type]


async def run_of(platform: Platform, artifact: Artifact, spec: DeploymentSpec, **runtime: str) -> Guest:
    guest = Guest(artifact=artifact, path=Path("/model"), interpreter="/runtime/python", runtime="own")
    return await variants.served(platform, guest, spec, replace(HOST, packages=runtime))


async def test_what_a_deployment_runs(world: World, tmp_path: Path) -> None:
    write(tmp_path)
    artifact = await variants.settle(world.platform, asked(), answer(), tmp_path)
    platform, spec = with_packages(world.platform, onnxruntime="1.30"), DeploymentSpec(model="churn@1")

    chosen = await run_of(platform, artifact, spec)
    assert (chosen.variant, chosen.inline) == (Variant.ONNX, True)
    assert (chosen.interpreter, chosen.runtime) == (HOST.interpreter, "host")

    without = with_packages(world.platform)
    own = await run_of(without, artifact, spec, onnxruntime="1.20")
    assert (own.variant, own.inline, own.interpreter) == (Variant.ONNX, False, "/runtime/python")
    assert (await run_of(without, artifact, spec)).variant is Variant.ORIGINAL

    original = await run_of(platform, artifact, replace(spec, variant=Serve.ORIGINAL))
    assert (original.variant, original.interpreter) == (Variant.ORIGINAL, "/runtime/python")
    gpu = replace(spec, resources=Resources(gpu="1"))
    assert (await run_of(platform, artifact, gpu)).variant is Variant.ORIGINAL


async def test_a_slow_variant_gets_a_worker(world: World, tmp_path: Path) -> None:
    write(tmp_path)
    slow = [{**SPEED[0], "variant_seconds": 0.0006}, SPEED[1]]
    candidates = [{"kind": "onnx", "reason": "", "parity": PARITY, "speed": slow}]
    artifact = await variants.settle(world.platform, asked(), answer(candidates=candidates), tmp_path)
    platform = with_packages(world.platform, onnxruntime="1.30")
    guest = await run_of(platform, artifact, DeploymentSpec(model="churn@1"))
    assert (guest.variant, guest.inline) == (Variant.ONNX, False)
