"""`/invocations` as MLflow and SageMaker ask it: four shapes of JSON, and CSV.

| request                                                       | answer                     |
|---------------------------------------------------------------|----------------------------|
| `{"dataframe_split": {"columns": […], "data": [[…]]}}`        | `{"predictions": […]}`     |
| `{"dataframe_records": [{…}, …]}`                             | `{"predictions": […]}`     |
| `{"instances": […]}`                                          | `{"predictions": […]}`     |
| `{"inputs": …}`                                               | `{"predictions": …}`       |
| CSV, with or without a line of names                          | `{"predictions": […]}`     |
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from typing import Any

from modelyard.oip.datatypes import BYTES
from modelyard.oip.document import parameters_at, timeout_at
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.instances import (
    Asked,
    read_inputs,
    read_instances,
    read_table,
    render_outputs,
    render_predictions,
)
from modelyard.oip.model import Query, Rendered, ServedModel
from modelyard.oip.rows import Table, records_table, split_table
from modelyard.oip.tensor import Tensor
from modelyard.oip.v1 import object_in

SHAPES = ("dataframe_split", "dataframe_records", "instances", "inputs")
EXPECTED = f"an object with one of {', '.join(SHAPES)}, and params if need be"
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def parse_invocation(body: bytes, model: ServedModel) -> Query:
    """One of the four shapes; raises Rejected with the place of the mistake."""
    document = object_in(body, EXPECTED)
    given = [shape for shape in SHAPES if shape in document]
    unknown = sorted(document.keys() - {*SHAPES, "params", "signature_name"})
    if len(given) != 1 or unknown:
        found = ", ".join(sorted(document)[:10]) or "none"
        raise Rejected("", f"expected {EXPECTED}, got {found}")
    shape = given[0]
    asked = _asked(shape, document[shape], model)
    parameters = parameters_at({"parameters": document.get("params")}, "params")
    render = _render_inputs if shape == "inputs" else _render_rows
    return Query(
        asked.inputs,
        partial(render, rows=asked.rows),
        parameters=parameters,
        timeout_seconds=timeout_at(parameters, "params"),
    )


def parse_csv(body: bytes, model: ServedModel) -> Query:
    """Lines of values, the first one names unless it is numbers; raises Rejected with line and column."""
    try:
        text = body.decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Rejected("", f"the body is not CSV in UTF-8: {error}") from None
    if not lines:
        raise Rejected("", "the body is empty; expected CSV")
    columns = None if all(_is_number(cell) for cell in lines[0]) else tuple(lines[0])
    rows = lines if columns is None else lines[1:]
    if not rows:
        raise Rejected("data", "there are no rows to predict")
    width = len(lines[0])
    for index, row in enumerate(rows):
        if len(row) != width:
            raise Rejected(f"data[{index}]", f"expected {width} values, got {len(row)}")
    if columns is not None and len(set(columns)) != width:
        raise Rejected("columns", "a name is there twice")
    typed = _typed(rows, columns, width, model)
    asked = read_table(Table(columns, typed, "" if columns else "data", records=False), model)
    return Query(asked.inputs, partial(_render_rows, rows=asked.rows))


def _asked(shape: str, content: Any, model: ServedModel) -> Asked:
    match shape:
        case "dataframe_split":
            if not isinstance(content, dict):
                raise Rejected(shape, f"expected an object with columns and data, got {shown(content)}")
            return read_table(split_table(content, shape), model)
        case "dataframe_records":
            if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
                raise Rejected(shape, f"expected a list of objects, got {shown(content)}")
            if not content:
                raise Rejected(shape, "there are no rows to predict")
            return read_table(records_table(content, shape), model)
        case "instances":
            return read_instances(content, model, shape)
        case _:
            return read_inputs(content, model, shape)


def _render_rows(outputs: Sequence[Tensor], *, rows: int) -> Rendered:
    return render_predictions(outputs, rows=rows, envelope="predictions")


def _render_inputs(outputs: Sequence[Tensor], *, rows: int) -> Rendered:
    """One prediction for each row, as for instances; whole tensors when an output has no such rows."""
    if all(tensor.shape[:1] == (rows,) for tensor in outputs):
        return _render_rows(outputs, rows=rows)
    return render_outputs(outputs, envelope="predictions")


def _typed(
    rows: list[list[str]], columns: tuple[str, ...] | None, width: int, model: ServedModel
) -> list[list[Any]]:
    """The cells as what the model's columns are; the rest by how all cells of a column look."""
    datatypes = _datatypes(columns, width, model)
    by_column = [
        [_cell(cell, datatype) for cell in column]
        for column, datatype in zip(zip(*rows, strict=True), datatypes, strict=True)
    ]
    return [list(row) for row in zip(*by_column, strict=True)]


def _datatypes(columns: tuple[str, ...] | None, width: int, model: ServedModel) -> list[str]:
    inputs = model.signature.inputs
    if len(inputs) == 1 and len(inputs[0].shape) > 1:
        return [inputs[0].datatype] * width
    if columns is not None:
        named = model.signature.input_named
        return [named[name].datatype if name in named else "" for name in columns]
    return [spec.datatype for spec in inputs] if len(inputs) == width else [""] * width


def _cell(text: str, datatype: str) -> Any:
    """A cell's value; what cannot be read stays text, so that the error names its place."""
    if datatype == BYTES:
        return text
    if datatype == "BOOL":
        return _TRUTH.get(text.strip().lower(), text)
    if not text.strip():
        return None if datatype != "" else text
    return _number(text)


def _number(text: str) -> Any:
    try:
        return int(text) if len(text) <= 40 else text
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _is_number(text: str) -> bool:
    return isinstance(_number(text), (int, float))
