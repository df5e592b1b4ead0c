"""An ONNX file's graph as facts: operators, inputs, outputs, tensors that lie in other files."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

from modelyard.formats import limits
from modelyard.formats.bytesview import Damaged
from modelyard.formats.protobuf import Message, signed

MAX_DEPTH = 32
"""Graphs inside the nodes of graphs."""
ELEMENT_BYTES = {
    1: 4,
    2: 1,
    3: 1,
    4: 2,
    5: 2,
    6: 4,
    7: 8,
    9: 1,
    10: 2,
    11: 8,
    12: 4,
    13: 8,
    14: 8,
    15: 16,
    16: 2,
}
"""TensorProto.DataType to bytes of one element."""
EXTERNAL = 1


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the graph."""

    name: str
    element: int
    """TensorProto.DataType; 0 when it is no tensor (a sequence or map)."""
    shape: tuple[int, ...] | None
    """-1 where it is not fixed; None when the rank is not given."""


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor whose data lies in another file."""

    name: str
    location: str
    offset: int
    length: int


@dataclass(slots=True)
class Graph:
    """What was found in one ONNX file."""

    ir_version: int = 0
    producer: str = ""
    producer_version: str = ""
    name: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    """Domain to version; the standard one is the empty text."""
    operators: dict[tuple[str, str], int] = field(default_factory=dict)
    """(domain, type) to how many nodes have it."""
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)
    external: list[ExternalTensor] = field(default_factory=list)
    functions: set[tuple[str, str]] = field(default_factory=set)
    """(domain, type) of operators that the file itself defines."""


def read(data: mmap.mmap | bytes) -> Graph:
    """Read a ModelProto. Raises Damaged when it is truncated, is not one, or has no graph or operator set."""
    if len(data) > limits.MAX_ONNX_PIECE:
        raise Damaged("it is larger than the 2 GiB that ONNX allows; save it with external data")
    found = Graph()
    graphs = 0
    for number, value in Message(data, 0, len(data)).fields():
        if number == 1 and isinstance(value, int):
            found.ir_version = value
        elif isinstance(value, Message):
            graphs += number == 7
            _model_field(found, number, value)
    if graphs != 1:
        raise Damaged("it has no graph: it is truncated, or not an ONNX model")
    if not found.ir_version or not found.opsets:
        raise Damaged("it has no IR version or no operator set: it is truncated, or not an ONNX model")
    if not found.outputs:
        raise Damaged("its graph has no output")
    return found


def _model_field(found: Graph, number: int, value: Message) -> None:
    match number:
        case 2:
            found.producer = value.text()
        case 3:
            found.producer_version = value.text()
        case 7:
            _graph(found, value, 0)
        case 8:
            domain, version = _opset(value)
            found.opsets[domain] = version
        case 25:
            _function(found, value)


def _opset(message: Message) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in message.fields():
        if number == 1 and isinstance(value, Message):
            domain = value.text()
        elif number == 2 and isinstance(value, int):
            version = value
    return domain, version


def _function(found: Graph, message: Message) -> None:
    name = domain = ""
    for number, value in message.fields():
        if not isinstance(value, Message):
            continue
        if number == 1:
            name = value.text()
        elif number == 10:
            domain = value.text()
        elif number == 7:
            _node(found, value, 1)
    found.functions.add((domain, name))


def _graph(found: Graph, message: Message, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Damaged("graphs are nested too deeply")
    for number, value in message.fields():
        if not isinstance(value, Message):
            continue
        if number == 1:
            _node(found, value, depth)
        elif number == 5:
            name = _tensor(found, value)
            found.initializers.update([name] if depth == 0 else [])
        elif number == 15:
            _sparse(found, value)
        elif depth == 0:
            _main_graph_field(found, number, value)


def _main_graph_field(found: Graph, number: int, value: Message) -> None:
    match number:
        case 2:
            found.name = value.text()
        case 11:
            found.inputs.append(_port(value))
        case 12:
            found.outputs.append(_port(value))


def _node(found: Graph, message: Message, depth: int) -> None:
    operator = domain = ""
    for number, value in message.fields():
        if not isinstance(value, Message):
            continue
        if number == 4:
            operator = value.text()
        elif number == 7:
            domain = value.text()
        elif number == 5:
            _attribute(found, value, depth)
    if not operator:
        raise Damaged("a node of its graph has no operator")
    domain = "" if domain == "ai.onnx" else domain
    found.operators[domain, operator] = found.operators.get((domain, operator), 0) + 1


def _attribute(found: Graph, message: Message, depth: int) -> None:
    for number, value in message.fields():
        if isinstance(value, Message):
            if number in (5, 10):
                _tensor(found, value)
            elif number in (6, 11):
                _graph(found, value, depth + 1)
            elif number in (22, 23):
                _sparse(found, value)


def _sparse(found: Graph, message: Message) -> None:
    for number, value in message.fields():
        if number in (1, 2) and isinstance(value, Message):
            _tensor(found, value)


def _tensor(found: Graph, message: Message) -> str:
    name, element, external = "", 0, False
    dims: list[int] = []
    entries: dict[str, str] = {}
    for number, value in message.fields():
        if number == 1:
            dims += [value] if isinstance(value, int) else list(value.varints())
        elif number == 2 and isinstance(value, int):
            element = value
        elif number == 14:
            external = value == EXTERNAL
        elif number == 8 and isinstance(value, Message):
            name = value.text()
        elif number == 13 and isinstance(value, Message):
            key, text = _entry(value)
            entries[key] = text
    if external or entries:
        found.external.append(_external(name, entries, _bytes_of(dims, element)))
    return name


def _bytes_of(dims: list[int], element: int) -> int:
    count = 1
    for dim in dims:
        count *= dim
        if not 0 <= count < 1 << 48:
            raise Damaged("a tensor has an impossible shape")
    return count * ELEMENT_BYTES.get(element, 0)


def _external(name: str, entries: dict[str, str], size: int) -> ExternalTensor:
    numbers = {key: entries.get(key, "") for key in ("offset", "length")}
    for key, text in numbers.items():
        if text and not (text.isdecimal() and len(text) < 19):
            raise Damaged(f"the {key} of tensor `{name}` is not a number")
    return ExternalTensor(
        name=name,
        location=entries.get("location", ""),
        offset=int(numbers["offset"] or 0),
        length=max(int(numbers["length"] or 0), size),
    )


def _entry(message: Message) -> tuple[str, str]:
    parts = {number: value.text() for number, value in message.fields() if isinstance(value, Message)}
    return parts.get(1, ""), parts.get(2, "")


def _port(message: Message) -> Port:
    name, element, shape = "", 0, None
    for number, value in message.fields():
        if not isinstance(value, Message):
            continue
        if number == 1:
            name = value.text()
        elif number == 2:
            element, shape = _type(value)
    return Port(name, element, shape)


def _type(message: Message) -> tuple[int, tuple[int, ...] | None]:
    element, shape = 0, None
    for number, value in message.fields():
        if number == 1 and isinstance(value, Message):
            for inner, item in value.fields():
                if inner == 1 and isinstance(item, int):
                    element = item
                elif inner == 2 and isinstance(item, Message):
                    shape = tuple(
                        _dim(dim) for key, dim in item.fields() if key == 1 and isinstance(dim, Message)
                    )
    return element, shape


def _dim(message: Message) -> int:
    for number, value in message.fields():
        if number == 1 and isinstance(value, int):
            size = signed(value)
            return size if size > 0 else -1
    return -1
