"""Files of neural networks as their frameworks lay them out, made without the frameworks."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any


class Call:
    """Pickles to a call of any name with any arguments."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.module, self.name, self.arguments = module, name, arguments


class Name:
    """Pickles to a name that is imported."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage:
    """Pickles to the persistent id of a tensor's storage."""

    def __init__(self, key: str, count: int) -> None:
        self.key, self.count = key, count


class _Pickler(pickle._Pickler):  # type: ignore[misc,name-defined]
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            return ("storage", Name("torch", "FloatStorage"), value.key, "cpu", value.count)
        return None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Name):
            self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self.save(Name(value.module, value.name))
            self.save(tuple(value.arguments))
            self.write(b"R")
        else:
            super().save(value, save_persistent_id)


def pickled(value: Any) -> bytes:
    """Protocol 2, as PyTorch writes."""
    out = io.BytesIO()
    _Pickler(out, protocol=2).dump(value)
    return out.getvalue()


def tensor(key: str, *shape: int) -> Call:
    """A contiguous tensor of 32-bit floats."""
    count, strides = 1, []
    for size in reversed(shape):
        strides.insert(0, count)
        count *= size
    return Call(
        "torch._utils",
        "_rebuild_tensor_v2",
        Storage(key, count),
        0,
        shape,
        tuple(strides),
        False,
        OrderedDict(),
    )


def state() -> dict[str, Any]:
    """The weights of a layer with two inputs and one output."""
    return {"layer.weight": tensor("0", 1, 2), "layer.bias": tensor("1", 1)}


def archive(path: Path, members: dict[str, bytes], *, root: str = "archive") -> Path:
    """A zip whose members lie in one folder; without `root` they lie at the top."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(f"{root}/{name}" if root else name, data)
    return path


def weights(path: Path, value: Any = None) -> Path:
    """What `torch.save` writes."""
    return archive(
        path,
        {"data.pkl": pickled(state() if value is None else value), "data/0": bytes(8), "version": b"3\n"},
    )


def script(
    path: Path, code: str = "def forward(self, x: Tensor) -> Tensor:\n  return x\n", **more: bytes
) -> Path:
    """What `torch.jit.save` writes."""
    root = Call("__torch__", "Net")
    members = {
        "data.pkl": pickled(root),
        "constants.pkl": pickled(()),
        "code/__torch__.py": code.encode(),
        "version": b"3",
    }
    return archive(path, {**members, **more})


def exported(path: Path, *, graph: dict[str, Any] | None = None, **members: bytes) -> Path:
    """What `torch.export.save` writes."""
    document = {
        "graph_module": {
            "graph": {
                "nodes": [{"target": "torch.ops.aten.relu.default"}],
                "tensor_values": {"x": {"dtype": 7, "sizes": [symbol(), {"as_int": 4}]}},
            },
            "signature": {"input_specs": [{"user_input": {"arg": {"as_tensor": {"name": "x"}}}}]},
            "module_call_graph": [{"signature": {"in_spec": '[1, {"type": "builtins.tuple"}]'}}],
        },
        "range_constraints": {"s77": {"min_val": 0}},
        "guards_code": ["L['x'].size()[0] <= 5"],
        "torch_version": "2.13.0+cpu",
        **(graph or {}),
    }
    files = {"archive_format": b"pt2", "models/model.json": json.dumps(document).encode()}
    return archive(path, {**files, **{name.replace("__", "/"): data for name, data in members.items()}})


def symbol(text: str = "Symbol('s77', positive=True, integer=True)") -> dict[str, Any]:
    """A size that is not known yet."""
    return {"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}


def keras(path: Path, *layers: dict[str, Any], **config: Any) -> Path:
    """A `.keras` archive with one input of four numbers."""
    document = {
        "module": "keras", "class_name": "Sequential", "registered_name": None,
        "config": {"name": "m", "layers": [keras_input(), *layers]}, **config,
    }  # fmt: skip
    members = {
        "metadata.json": json.dumps({"keras_version": "3.15.1"}).encode(),
        "config.json": json.dumps(document).encode(),
        "model.weights.h5": b"\x89HDF\r\n\x1a\n",
    }
    return archive(path, members, root="")


def keras_input() -> dict[str, Any]:
    """An input layer."""
    config = {"batch_shape": [None, 4], "dtype": "float32", "name": "x"}
    return {"module": "keras.layers", "class_name": "InputLayer", "config": config}


def keras_layer(name: str, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    """Any layer."""
    return {"module": module, "class_name": name, "config": {"name": name.lower(), **config}}


def h5(path: Path, **attributes: str) -> Path:
    """An HDF5 file with texts as attributes of its root, in a global heap, as h5py writes them."""
    heap, messages = b"", b""
    address = 96
    for index, (name, text) in enumerate(attributes.items(), 1):
        data = text.encode()
        heap += struct.pack("<HHIQ", index, 1, 0, len(data)) + data + bytes(-len(data) % 8)
        kind = bytes([0x19, 0x01, 0, 0]) + struct.pack("<I", 16) + bytes(8)
        label = name.encode() + b"\0"
        body = struct.pack("<BBHHH", 1, 0, len(label), len(kind), 8)
        body += (
            label + bytes(-len(label) % 8) + kind + bytes(8) + struct.pack("<IQI", len(data), address, index)
        )
        messages += struct.pack("<HHB3x", 0x0C, len(body), 0) + body
    collection = b"GCOL\x01\0\0\0" + struct.pack("<Q", 16 + len(heap) + 16) + heap + bytes(16)
    header = struct.pack("<BBHII4x", 1, 0, len(attributes), 1, len(messages)) + messages
    root = address + len(collection)
    block = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    block += struct.pack("<QQQQ", 0, 2**64 - 1, root + len(header), 2**64 - 1) + struct.pack("<QQ", 0, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(block + bytes(address - len(block)) + collection + header)
    return path


def keras_config(*layers: dict[str, Any]) -> str:
    """A model's configuration as text."""
    return json.dumps(
        {"class_name": "Sequential", "config": {"name": "m", "layers": [keras_input(), *layers]}}
    )


def saved_model(
    directory: Path, *operations: str, signature: str = "serving_default", variables: bool = True
) -> Path:
    """A SavedModel y = f(x) of 32-bit floats; `operations` are in a function of its library."""
    info = _text(4, "serve") + _text(5, "2.20.0")
    nodes = b"".join(_field(3, _text(1, name) + _text(2, name)) for name in operations)
    graph = _field(1, _text(1, "x") + _text(2, "Placeholder"))
    graph += _field(1, _text(1, "v") + _text(2, "VarHandleOp")) + _field(2, _field(1, nodes))
    served = _field(1, _entry("x", _tensor(-1, 3))) + _field(2, _entry("y", _tensor(-1, 2)))
    meta = _field(1, info) + _field(2, graph) + _field(5, _entry(signature, served))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "saved_model.pb").write_bytes(b"\x08\x01" + _field(2, meta))
    if variables:
        (directory / "variables").mkdir()
        (directory / "variables/variables.index").write_bytes(b"i")
        (directory / "variables/variables.data-00000-of-00001").write_bytes(b"d")
    return directory


def _tensor(*shape: int) -> bytes:
    sizes = b"".join(_field(2, b"\x08" + _varint(size & (2**64 - 1))) for size in shape)
    return b"\x10\x01" + _field(3, sizes)


def _entry(key: str, value: bytes) -> bytes:
    return _text(1, key) + _field(2, value)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
