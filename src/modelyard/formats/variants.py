"""Compiled variants as bytes: whether a file that a guest made may be loaded by our own processes."""

from __future__ import annotations

import json
from pathlib import Path

from modelyard.formats import bytesview, onnx_graph
from modelyard.formats.bytesview import Damaged

PLAIN = frozenset(
    (
        "Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "Clip", "Concat", "CumSum", "Div", "Equal",
        "Erf", "Exp", "Flatten", "Floor", "Gather", "GatherElements", "Gemm", "Greater",
        "GreaterOrEqual", "Identity", "IsNaN", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Mean",
        "Min", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax",
        "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape",
        "Shape", "Sigmoid", "Sign", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
        "Tanh", "TopK", "Transpose", "Unsqueeze", "Where", "Xor",
    )
)  # fmt: skip
"""Standard operators that variants are made of: each ends, and costs no more than its inputs are large.

Loops, scans and conditions are not among them.
"""
LEARNED = "ai.onnx.ml"


def variant_objection(path: Path, kind: str) -> str:
    """Why a variant's file must not be loaded; empty when it may. Blocking: call it in a thread."""
    if kind == "treelite":
        return _treelite(path)
    try:
        with bytesview.opened(path) as data:
            graph = onnx_graph.read(data)
    except Damaged as error:
        return f"its file is damaged: {error}"
    if graph.external:
        return "its graph refers to other files"
    if graph.functions:
        return "its graph defines operators of its own"
    unusual = sorted(
        f"{domain or 'ai.onnx'}.{name}"
        for domain, name in graph.operators
        if domain != LEARNED and not (domain == "" and name in PLAIN)
    )
    return f"its graph has operators that are not served inline: {', '.join(unusual[:5])}" if unusual else ""


def _treelite(path: Path) -> str:
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    try:
        known = json.loads(first)
    except ValueError:
        known = None
    return "" if isinstance(known, dict) else "its file does not begin with its description"
