"""Nodes: builds an ONNX graph one operator at a time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Dict, List, Sequence

import numpy as np

if TYPE_CHECKING:
    from modelyard_worker.signatures import Spec

ELEMENTS: Dict[str, int] = {
    "FP32": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "BYTES": 8, "BOOL": 9,
    "FP16": 10, "FP64": 11, "UINT32": 12, "UINT64": 13,
}  # fmt: skip
"""OIP datatypes as ONNX numbers its element types."""

OPSET = 18
IR_VERSION = 8
"""The oldest that the operators need, so that older ONNX Runtimes read the file too."""


class Nodes:
    """The operators, constants and inner graphs of one model."""

    def __init__(self) -> None:
        self.onnx = importlib.import_module("onnx")
        self.nodes: List[Any] = []
        self.constants: List[Any] = []
        self.learned_opset = 3
        """Version of the operators for trees and other learned models."""
        self._names = 0

    def add(self, operator: str, inputs: Sequence[str], *, domain: str = "", **attributes: Any) -> str:
        """Add an operator with one output; returns the output's name."""
        output = self._name()
        node = self.onnx.helper.make_node(operator, list(inputs), [output], domain=domain)
        for name, value in attributes.items():
            node.attribute.append(self._attribute(name, value))
        self.nodes.append(node)
        return output

    def constant(self, value: Any) -> str:
        """Add a constant array; returns its name."""
        name = self._name()
        array = np.asarray(value)
        if array.dtype.kind in "OUS":
            text = [each if isinstance(each, bytes) else str(each).encode() for each in array.ravel()]
            made = self.onnx.helper.make_tensor(name, ELEMENTS["BYTES"], list(array.shape), text)
        else:
            made = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.constants.append(made)
        return name

    def cast(self, name: str, datatype: str) -> str:
        """The tensor in another datatype."""
        return self.add("Cast", [name], to=ELEMENTS[datatype])

    def include(self, model: Any, feeds: Dict[str, str]) -> List[str]:
        """Add a whole model with its inputs fed from `feeds`; returns the names of its outputs."""
        inner = self.onnx.compose.add_prefix(model, "inner/")
        renamed = {f"inner/{name}": fed for name, fed in feeds.items()}
        for name, fed in renamed.items():
            self.nodes.append(self.onnx.helper.make_node("Identity", [fed], [name]))
        self.nodes.extend(inner.graph.node)
        self.constants.extend(inner.graph.initializer)
        return [each.name for each in inner.graph.output]

    def model(self, inputs: Sequence[Spec], outputs: Sequence[Spec], made: Dict[str, str]) -> Any:
        """The finished ModelProto; `made` says which tensor each output is."""
        helper = self.onnx.helper
        for name, source in made.items():
            self.nodes.append(helper.make_node("Identity", [source], [name]))
        graph = helper.make_graph(
            self.nodes,
            "variant",
            [self._port(each) for each in inputs],
            [self._port(each) for each in outputs],
            self.constants,
        )
        versions = [
            helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", self.learned_opset),
        ]  # fmt: skip
        model = helper.make_model(graph, opset_imports=versions, producer_name="modelyard")
        model.ir_version = IR_VERSION
        return model

    def _port(self, spec: Spec) -> Any:
        shape = [None if size < 0 else size for size in spec["shape"]]
        return self.onnx.helper.make_tensor_value_info(spec["name"], ELEMENTS[spec["datatype"]], shape)

    def _attribute(self, name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.dtype.itemsize == 8:
            made = self.onnx.AttributeProto(name=name, type=self.onnx.AttributeProto.INTS)
            made.ints.extend(value.tolist())
            return made
        if isinstance(value, np.ndarray):
            value = self.onnx.numpy_helper.from_array(value, name)
        return self.onnx.helper.make_attribute(name, value)

    def _name(self) -> str:
        self._names += 1
        return f"step/{self._names}"
