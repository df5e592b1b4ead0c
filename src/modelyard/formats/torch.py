"""PyTorch models: TorchScript, exported programs, and weights with the source code of their module."""

from __future__ import annotations

import ast
from pathlib import Path

from modelyard.domain.model import Format, Serialization
from modelyard.formats import limits, python_source, torch_archive, torch_graph, torch_names, zips
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected
from modelyard.formats.pickled import follow
from modelyard.formats.pickles.reading import Reading
from modelyard.formats.pickles.values import Instance
from modelyard.formats.torch_archive import Kind

SOURCE = "model.py"
HOLDERS = ("state_dict", "model_state_dict", "model", "weights", "params")
"""Keys under which checkpoints keep their weights."""
MAX_HEADER = 100 * limits.MIB
MAX_NAMED = 8
EXPORT = (
    "export the whole model with torch.export.save(torch.export.export(model.eval(), (example,)), "
    "'model.pt2') or torch.jit.script(model).save('model.pt')"
)
REBUILD = "torch._utils._rebuild_"


def read(directory: Path, entry: str) -> Detected:
    """Read a `.pt`, `.pth` or `.pt2` file. Raises Damaged."""
    path = directory / entry
    with path.open("rb") as file:
        head = file.read(4)
    if head != b"PK\x03\x04":
        raise Damaged(_not_an_archive(path, head))
    with zips.opened(path) as archive:
        kind, root = torch_archive.kind_of(archive)
        if kind is Kind.EXPORT:
            names = [name for name in archive.namelist() if name.startswith(f"{root}/models/")]
            if len(names) != 1:
                raise Damaged(f"it holds {len(names)} exported programs; export one, without AOTInductor")
            return _exported(zips.document(archive, names[0], limits.MAX_GRAPH), entry)
        found = torch_archive.pickle(archive, f"{root}/data.pkl")
    return _script(found, entry) if kind is Kind.SCRIPT else _weights(directory, entry, found)


def read_safetensors(directory: Path, entry: str) -> Detected:
    """Read the header of a safetensors file and the source beside it. Raises Damaged."""
    path = directory / entry
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise Damaged("it is truncated, or not a safetensors file")
        header = zips.parsed(file.read(length), "header")
    tensors = {name: each for name, each in header.items() if name != "__metadata__"}
    for name, each in tensors.items():
        offsets = each.get("data_offsets") if isinstance(each, dict) else None
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(at) is int for at in offsets):
            raise Damaged(f"tensor `{name[:100]}` has no place in the file")
        if not 0 <= offsets[0] <= offsets[1] <= size - 8 - length:
            raise Damaged(f"tensor `{name[:100]}` ends after the file: it is truncated")
    return _with_source(directory, entry, Serialization.SAFETENSORS, len(tensors))


def is_module(source: Path, name: str) -> bool:
    """Whether a source file defines a class `Model` that computes with `forward` and has no `predict`.

    A file that is no Python is not; who reads it as a Python model says why.
    """
    try:
        model = _model(source, name)
    except Damaged:
        return False
    methods = {each.name for each in model.body if isinstance(each, ast.FunctionDef)} if model else set()
    return "forward" in methods and "predict" not in methods


def _model(source: Path, name: str) -> ast.ClassDef | None:
    for node in python_source.parse(source, name).body:
        if isinstance(node, ast.ClassDef) and node.name == "Model":
            return node
    return None


def _script(found: Reading, entry: str) -> Detected:
    made = found.root.made_by.name if isinstance(found.root, Instance) else ""
    return Detected(
        format=Format.TORCH,
        serialization=Serialization.TORCHSCRIPT,
        entry=entry,
        algorithm=made or "ScriptModule",
        notes=("TorchScript does not record the shapes of its inputs; they are those of the sample",),
    )


def _exported(document: dict[str, object], entry: str) -> Detected:
    version = document.get("torch_version")
    signature = torch_graph.signature(document)
    fixed = [each for each in (signature.inputs if signature else ()) if each.shape and each.shape[0] >= 0]
    return Detected(
        format=Format.TORCH,
        serialization=Serialization.TORCH_EXPORT,
        entry=entry,
        framework_version=version.partition("+")[0] if isinstance(version, str) else "",
        algorithm="ExportedProgram",
        signature=signature,
        warnings=tuple(
            f"input `{each.name}` takes exactly {each.shape[0]} rows, as it was exported; "
            "export with dynamic_shapes to take any number"
            for each in fixed
        ),
    )


def _weights(directory: Path, entry: str, found: Reading) -> Detected:
    tensors = _tensors(found.root)
    unsafe = (*torch_names.refused(found.imports, script=False), *found.findings)
    if tensors is None or (unsafe and not _source(directory, entry).is_file()):
        kind = "it is no state_dict but a pickled object; " if tensors is None else ""
        raise Damaged(f"{_said(unsafe)}{kind}{EXPORT}")
    return _with_source(directory, entry, Serialization.TORCH_WEIGHTS, tensors)


def _with_source(directory: Path, entry: str, serialization: Serialization, tensors: int) -> Detected:
    source = _source(directory, entry)
    if not source.is_file():
        raise Damaged(
            f"it holds weights only ({tensors} tensors); put a {SOURCE} beside it that defines "
            f"`class Model(torch.nn.Module)` with `forward`, or {EXPORT}"
        )
    model = _model(source, SOURCE)
    if model is None or not model.bases:
        raise Damaged(
            f"the {SOURCE} beside it defines no `class Model(torch.nn.Module)` that takes the weights"
        )
    return Detected(
        format=Format.TORCH,
        serialization=serialization,
        entry=entry,
        algorithm="Model",
        notes=(f"{tensors} tensors for the class Model in {SOURCE}",),
    )


def _said(unsafe: tuple[str, ...]) -> str:
    shown = "; ".join(unsafe[:MAX_NAMED])
    return f"UnsafeContent: loading it would import or run {shown}; " if unsafe else ""


def _source(directory: Path, entry: str) -> Path:
    return (directory / entry).parent / SOURCE


def _tensors(root: object) -> int | None:
    """How many tensors a state_dict or a checkpoint with one holds; None for any other object."""
    items = _items(root)
    if items is None:
        return None
    own = sum(_is_tensor(each) for each in items.values())
    held = [_tensors(items[key]) for key in HOLDERS if key in items and not _is_tensor(items[key])]
    return own or next((count for count in held if count), None)


def _items(value: object) -> dict[str, object] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, Instance) and str(value.made_by) == "collections.OrderedDict":
        return value.items
    return None


def _is_tensor(value: object) -> bool:
    return isinstance(value, Instance) and str(value.made_by).startswith(REBUILD)


def _not_an_archive(path: Path, head: bytes) -> str:
    """Why a file that is no zip cannot be served; a plain pickle is read to name what it imports."""
    if not head.startswith(b"\x80"):
        return "it is not a file of PyTorch, or its beginning is missing"
    again = "load it and write it again with torch.save(model.state_dict(), path), or " + EXPORT
    if head.startswith(b"\x80\x02\x8a"):
        return f"it is in PyTorch's format from before 1.6, which is a row of pickles; {again}"
    found = follow(path)
    unsafe = (*torch_names.refused(found.imports, script=False), *found.findings)
    return f"{_said(unsafe)}it is a plain pickle and not an archive of PyTorch; {again}"
