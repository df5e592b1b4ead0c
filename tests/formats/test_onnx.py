"""ONNX files are read without the onnx package, and agree with it."""

from __future__ import annotations

from pathlib import Path

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.domain.errors import Refused
from modelyard.domain.model import Datatype, Format, Function, Serialization
from modelyard.domain.project import Trust
from modelyard.formats import detect, requirements, scan
from tests.formats import models


def linear(*, domain: str = "", external: bool = False) -> onnx.ModelProto:
    weights = numpy_helper.from_array(numpy.ones((4, 300), dtype="float32"), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "weights"], ["output"], domain=domain)],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, 300])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=8, producer_name="test", producer_version="7"
    )


def save_external(directory: Path) -> None:
    onnx.save_model(
        linear(),
        directory / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=100,
    )


def test_inputs_outputs_and_operator_sets_are_read(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "model.onnx")
    found = detect(tmp_path)
    assert (found.format, found.serialization) == (Format.ONNX, Serialization.ONNX)
    assert found.notes == ("ONNX IR 8, operator sets ai.onnx 17, made by test 7",)
    assert found.signature is not None
    (given,), (answer,) = found.signature.inputs, found.signature.outputs
    assert (given.name, given.datatype, given.shape) == ("input", Datatype.FP32, (-1, 4))
    assert (answer.name, answer.datatype, answer.shape) == ("output", Datatype.FP32, (-1, 300))
    assert scan(tmp_path, found, trust=Trust.NEVER) == ()
    assert requirements(found) == ("onnxruntime",)


@pytest.mark.parametrize(
    ("name", "function", "algorithm"),
    [
        ("logistic", Function.CLASSIFICATION, "LinearClassifier"),
        ("random-forest", Function.CLASSIFICATION, "TreeEnsembleClassifier"),
        ("linear", Function.REGRESSION, "LinearRegressor"),
    ],
)
def test_converted_estimators_tell_what_they_are(
    name: str, function: Function, algorithm: str, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(models.onnx_bytes(name))
    found = detect(tmp_path)
    assert (found.function, found.algorithm) == (function, algorithm)
    assert found.signature is not None
    model = onnx.load(tmp_path / "model.onnx")
    assert [spec.name for spec in found.signature.inputs] == [port.name for port in model.graph.input]
    assert [spec.name for spec in found.signature.outputs] == [port.name for port in model.graph.output]


def test_an_output_that_is_no_tensor_is_left_to_the_validation(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    model = to_onnx(models.fitted("logistic"), models.IRIS[:1].astype("float32"), target_opset=17)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    found = detect(tmp_path)
    assert found.signature is None
    assert found.function is Function.CLASSIFICATION


def test_operators_that_the_runtime_lacks_are_noted(tmp_path: Path) -> None:
    onnx.save(linear(domain="com.example"), tmp_path / "model.onnx")
    assert "com.example.MatMul" in scan(tmp_path, detect(tmp_path), trust=Trust.SCAN)[0]


def test_external_data_that_is_whole_is_accepted(tmp_path: Path) -> None:
    save_external(tmp_path)
    assert (tmp_path / "model.onnx.data").stat().st_size >= 4800
    assert detect(tmp_path).entry == "model.onnx"


def test_external_data_that_is_missing_is_named(tmp_path: Path) -> None:
    save_external(tmp_path)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(Refused, match=r"`model\.onnx\.data` is missing; publish the whole directory"):
        detect(tmp_path)


def test_external_data_that_is_too_short_is_named_with_both_sizes(tmp_path: Path) -> None:
    save_external(tmp_path)
    data = (tmp_path / "model.onnx.data").read_bytes()
    (tmp_path / "model.onnx.data").write_bytes(data[:4000])
    with pytest.raises(Refused, match=r"has 4000 bytes.*`weights`.*4800.*truncated"):
        detect(tmp_path)


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "a/../../secret", "", "..\\x", "link"])
def test_external_data_outside_the_directory_is_refused(location: str, tmp_path: Path) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(bytes(10_000))
    (inside / "link").symlink_to(tmp_path / "secret")
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (inside / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Refused, match=r"not a path inside|outside the model's directory"):
        detect(inside)


def test_a_tensor_inside_a_subgraph_is_checked_too(tmp_path: Path) -> None:
    hidden = numpy_helper.from_array(numpy.ones(4, dtype="float32"), "hidden")
    hidden.ClearField("raw_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../../etc/passwd")
    branch = helper.make_graph([helper.make_node("Constant", [], ["x"], value=hidden)], "branch", [], [])
    model = linear()
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Refused, match="`hidden`"):
        detect(tmp_path)


@pytest.mark.parametrize("entry", [("offset", "-1"), ("length", "many"), ("offset", "9" * 30)])
def test_an_offset_that_is_no_number_is_refused(entry: tuple[str, str], tmp_path: Path) -> None:
    save_external(tmp_path)
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    model.graph.initializer[0].external_data.add(key=entry[0], value=entry[1])
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Refused, match=f"the {entry[0]} of tensor `weights`"):
        detect(tmp_path)


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    def wrapped(number: int, data: bytes) -> bytes:
        size, rest = b"", len(data)
        while rest > 127:
            size, rest = size + bytes([rest & 127 | 128]), rest >> 7
        return bytes([number << 3 | 2]) + size + bytes([rest]) + data

    graph = b""
    for _ in range(40):
        graph = wrapped(1, wrapped(4, b"Loop") + wrapped(5, wrapped(6, graph)))
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08" + wrapped(7, graph))
    with pytest.raises(Refused, match="nested too deeply"):
        detect(tmp_path)


@pytest.mark.parametrize(
    "data", [b"hello world, this is text", b"\x80\x04K\x01.", b"PK\x03\x04xxx", b"\x08\x08", b"<x/>"]
)
def test_what_is_no_onnx_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(Refused, match=r"model\.onnx: "):
        detect(tmp_path)
