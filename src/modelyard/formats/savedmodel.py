"""TensorFlow SavedModel directories: the serving signature, and operations that reach outside the graph."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.domain.model import Datatype, Format, Serialization, Signature, TensorSpec
from modelyard.formats import bytesview
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected
from modelyard.formats.protobuf import Message, signed

FILE = "saved_model.pb"
SERVING = "serving_default"
NO_FILES = frozenset(
    (
        "ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc", "PrintV2",
        "LoadAndRemapMatrix", "TextLineReader", "TextLineReaderV2", "WholeFileReader", "WholeFileReaderV2",
        "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TFRecordReader", "TFRecordReaderV2",
        "TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2", "FixedLengthRecordDataset",
        "FixedLengthRecordDatasetV2", "SqlDataset", "CSVDataset", "CSVDatasetV2", "LoadDataset",
        "LoadDatasetV2", "SaveDataset", "SaveDatasetV2", "SnapshotDataset", "SnapshotDatasetV2",
        "DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3", "DataServiceDatasetV4",
        "CreateSummaryFileWriter", "CreateSummaryDbWriter", "ImportEvent", "DebugIdentity",
        "DebugIdentityV2", "DebugIdentityV3", "RpcServerStart", "RpcClient", "RpcCall", "TryRpc", "Rpc",
    )
)  # fmt: skip
"""Operations that read or write files, call Python or open connections."""
DATATYPES = {
    1: Datatype.FP32, 2: Datatype.FP64, 3: Datatype.INT32, 4: Datatype.UINT8, 5: Datatype.INT16,
    6: Datatype.INT8, 7: Datatype.BYTES, 9: Datatype.INT64, 10: Datatype.BOOL, 17: Datatype.UINT16,
    19: Datatype.FP16, 22: Datatype.UINT32, 23: Datatype.UINT64,
}  # fmt: skip
"""Numbers of `tensorflow.DataType`."""
_SHARD = re.compile(r"variables\.data-\d{5}-of-(\d{5})")

# Field numbers, by message.
_META_GRAPH = 2
_INFO, _GRAPH, _SIGNATURES = 1, 2, 5
_TAGS, _VERSION = 4, 5
_NODE, _LIBRARY = 1, 2
_FUNCTION, _FUNCTION_NODE = 1, 3
_NODE_OP = 2
_KEY, _VALUE = 1, 2
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS = 1, 2
_TENSOR_TYPE, _TENSOR_SHAPE = 2, 3
_DIMENSION, _UNKNOWN_RANK = 2, 3


@dataclass(slots=True)
class _Model:
    version: str = ""
    operations: set[str] = field(default_factory=set)
    signatures: dict[str, Message] = field(default_factory=dict)


def read(directory: Path, entry: str) -> Detected:
    """Read a SavedModel and check that its variables are whole. Raises Damaged."""
    with bytesview.opened(directory / entry) as data:
        model = _model(data)
        if not model.operations:
            raise Damaged("it has no graph, so it is not a SavedModel")
        chosen = _chosen(model)
        signature = _signature(model.signatures[chosen])
    _check_variables((directory / entry).parent, "VarHandleOp" in model.operations)
    return Detected(
        format=Format.TENSORFLOW,
        serialization=Serialization.SAVED_MODEL,
        entry=entry,
        framework_version=model.version.partition("-")[0],
        algorithm="SavedModel",
        signature=signature,
        notes=(f"signature {chosen}",),
    )


def unsafe(path: Path) -> tuple[str, ...]:
    """Name the operations that reach outside the graph. Raises Damaged."""
    with bytesview.opened(path) as data:
        found = _model(data).operations & NO_FILES
    return tuple(f"the operation {name}, which reaches outside the graph" for name in sorted(found))


def _model(data: mmap.mmap) -> _Model:
    """The graph that is tagged for serving, or the only one."""
    graphs = [graph for number, graph in _messages(Message(data, 0, len(data))) if number == _META_GRAPH]
    if not graphs:
        raise Damaged("it has no graph, so it is not a SavedModel")
    found = _Model()
    parts = (part for graph in graphs for number, part in _messages(graph) if number == _GRAPH)
    for part in parts:
        found.operations.update(_operations(part))
    serving = [graph for graph in graphs if "serve" in _tags(graph)] or graphs
    for number, part in _messages(serving[0]):
        if number == _INFO:
            found.version = next((each.text() for at, each in _messages(part) if at == _VERSION), "")
        elif number == _SIGNATURES:
            name, value = _entry(part)
            if value is not None:
                found.signatures[name] = value
    return found


def _messages(message: Message) -> Iterator[tuple[int, Message]]:
    for number, value in message.fields():
        if isinstance(value, Message):
            yield number, value


def _tags(graph: Message) -> set[str]:
    infos = [part for number, part in _messages(graph) if number == _INFO]
    return {each.text() for info in infos for at, each in _messages(info) if at == _TAGS}


def _operations(graph: Message) -> Iterator[str]:
    for number, part in _messages(graph):
        if number == _NODE:
            yield from _operation(part)
        elif number == _LIBRARY:
            for at, function in _messages(part):
                nodes = _messages(function) if at == _FUNCTION else ()
                for inner, node in nodes:
                    if inner == _FUNCTION_NODE:
                        yield from _operation(node)


def _operation(node: Message) -> Iterator[str]:
    return (part.text() for number, part in _messages(node) if number == _NODE_OP)


def _entry(message: Message) -> tuple[str, Message | None]:
    """Key and value of one entry of a map."""
    key, value = "", None
    for number, part in _messages(message):
        if number == _KEY:
            key = part.text()
        elif number == _VALUE:
            value = part
    return key, value


def _chosen(model: _Model) -> str:
    names = [name for name in sorted(model.signatures) if not name.startswith("__")]
    if SERVING in names:
        return SERVING
    if len(names) == 1:
        return names[0]
    there = f"it has {', '.join(names[:8])}" if names else "it has none"
    raise Damaged(
        f"it has no signature `{SERVING}` ({there}); save it with "
        "tf.saved_model.save(model, path, signatures=function), or a Keras model with model.export(path)"
    )


def _signature(message: Message) -> Signature | None:
    sides: dict[int, list[TensorSpec | None]] = {_SIGNATURE_INPUTS: [], _SIGNATURE_OUTPUTS: []}
    for number, part in _messages(message):
        if number in sides:
            name, info = _entry(part)
            sides[number].append(_tensor(name, info))
    inputs, outputs = ([each for each in side if each] for side in sides.values())
    if len(inputs) + len(outputs) < sum(map(len, sides.values())):
        return None
    named = [tuple(sorted(side, key=lambda spec: spec.name)) for side in (inputs, outputs)]
    return Signature(inputs=named[0], outputs=named[1])


def _tensor(name: str, info: Message | None) -> TensorSpec | None:
    datatype, shape = None, None
    for number, value in info.fields() if info else ():
        if number == _TENSOR_TYPE and isinstance(value, int):
            datatype = DATATYPES.get(value)
        elif number == _TENSOR_SHAPE and isinstance(value, Message):
            shape = _shape(value)
    if datatype is None or not shape:
        return None
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def _shape(message: Message) -> tuple[int, ...] | None:
    sizes = []
    for number, value in message.fields():
        if number == _UNKNOWN_RANK and value:
            return None
        if number == _DIMENSION and isinstance(value, Message):
            given = [signed(size) for at, size in value.fields() if at == 1 and isinstance(size, int)]
            sizes.append(given[-1] if given else 0)
    return tuple(size if size >= 0 else -1 for size in sizes)


def _check_variables(directory: Path, expected: bool) -> None:
    folder = directory / "variables"
    shards = {
        path.name: match for path in folder.glob("variables.data-*") if (match := _SHARD.fullmatch(path.name))
    }
    if not (folder / "variables.index").is_file() or not shards:
        if expected:
            raise Damaged("its variables are missing; publish the whole directory, `variables/` included")
        return
    count = int(next(iter(shards.values()))[1])
    missing = [each for each in range(count) if f"variables.data-{each:05}-of-{count:05}" not in shards]
    if missing:
        raise Damaged(
            f"part {missing[0]} of its {count} parts of variables is missing; publish the whole directory"
        )
