"""Keras models, `.keras` archives and `.h5` files: what they take, and what their configuration would run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from modelyard.domain.model import Datatype, Format, Serialization, Signature, TensorSpec
from modelyard.formats import hdf5, limits, zips
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
RUNS_CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
"""Layers of Keras itself that hold code, or load it from elsewhere."""
PACKAGES = re.compile(
    r"(?:keras|keras\.src|tf_keras|tf_keras\.src|builtins)"
    r"(?:\.(?:activations|constraints|dtype_policies|initializers|layers|losses|metrics|models|optimizers"
    r"|quantizers|random|regularizers|ops|engine)(?:\.[a-z0-9_]+)*)?"
)
"""Modules whose classes Keras may be asked for. Its utilities, which fetch files, are not among them."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DATATYPES = {
    "float16": Datatype.FP16, "float32": Datatype.FP32, "float64": Datatype.FP64, "int8": Datatype.INT8,
    "int16": Datatype.INT16, "int32": Datatype.INT32, "int64": Datatype.INT64, "uint8": Datatype.UINT8,
    "uint16": Datatype.UINT16, "uint32": Datatype.UINT32, "bool": Datatype.BOOL, "string": Datatype.BYTES,
}  # fmt: skip
VERSION = re.compile(r"3\.\d+(?:\.\d+)?")


def read(path: Path, entry: str) -> Detected:
    """Read a `.keras` archive. Raises Damaged."""
    with zips.opened(path) as archive:
        config = zips.document(archive, CONFIG, limits.MAX_GRAPH)
        metadata = zips.document(archive, METADATA, limits.MAX_SOURCE)
        if not any(name.startswith("model.weights") for name in archive.namelist()):
            raise Damaged(f"it has no {WEIGHTS}; save the whole model with model.save('model.keras')")
    return _described(config, str(metadata.get("keras_version", "")), entry, Serialization.KERAS)


def read_h5(path: Path, entry: str) -> Detected:
    """Read a model in an HDF5 file. Raises Damaged."""
    attributes = hdf5.texts(path)
    version = attributes.get("keras_version", b"").decode("utf-8", "replace")
    return _described(_h5_config(attributes), version, entry, Serialization.KERAS_H5)


def unsafe(path: Path, serialization: Serialization) -> tuple[str, ...]:
    """Name what loading the model would import or run that is not Keras's own. Raises Damaged."""
    if serialization is Serialization.KERAS_H5:
        config = _h5_config(hdf5.texts(path))
    else:
        with zips.opened(path) as archive:
            config = zips.document(archive, CONFIG, limits.MAX_GRAPH)
    # The model is loaded without being compiled: losses and optimisers are not looked at.
    config = {key: value for key, value in config.items() if key != "compile_config"}
    return tuple(dict.fromkeys(_unsafe(config)))


def _h5_config(attributes: dict[str, bytes]) -> dict[str, object]:
    if "model_config" not in attributes:
        raise Damaged("it holds weights only; save the whole model with model.save('model.keras')")
    return zips.parsed(attributes["model_config"], "model_config")


def _unsafe(config: dict[str, object]) -> Iterator[str]:
    for node in _nodes(config):
        kind, module = node.get("class_name"), node.get("module")
        if "module" in node and module is not None and not _known_module(module):
            yield f"{str(module)[:100]}.{str(kind)[:100]}, which is not a part of Keras"
        elif isinstance(kind, str) and kind.rpartition(">")[2] in RUNS_CODE:
            yield f"code in a layer of kind {kind.rpartition('>')[2]}{_called(node)}"
        elif isinstance(kind, str) and ">" in kind:
            yield f"the custom class {kind[:100]}, which Keras does not have"
        elif kind in ("function", "class") and not _plain_function(node):
            yield f"the function {str(node.get('config'))[:100]}"
        vocabulary = node.get("vocabulary")
        if isinstance(vocabulary, str) and vocabulary:
            yield f"a vocabulary that is read from {vocabulary[:100]!a}"


def _known_module(module: object) -> bool:
    return isinstance(module, str) and bool(PACKAGES.fullmatch(module))


def _plain_function(node: dict[str, object]) -> bool:
    """Whether a function is named by a plain name, which Keras looks up among its own."""
    named = node.get("config")
    return isinstance(named, str) and bool(NAME.fullmatch(named))


def _called(node: dict[str, object]) -> str:
    inner = node.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    return f" (`{name[:60]}`)" if isinstance(name, str) else ""


def _nodes(config: object) -> Iterator[dict[str, object]]:
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _described(config: dict[str, object], version: str, entry: str, serialization: Serialization) -> Detected:
    kind = config.get("class_name")
    if not isinstance(kind, str) or not isinstance(config.get("config"), dict):
        raise Damaged("its configuration describes no model of Keras")
    old = bool(version) and not VERSION.match(version)
    return Detected(
        format=Format.KERAS,
        serialization=serialization,
        entry=entry,
        framework_version="" if old else version.partition("-")[0],
        algorithm=kind.rpartition(">")[2],
        signature=_signature(config["config"]),
        warnings=(f"it was written by Keras {version[:20]} and is loaded by Keras 3",) if old else (),
    )


def _signature(config: object) -> Signature | None:
    """Inputs as the model's input layers declare them; None when there are none, or of unknown type."""
    layers = config.get("layers") if isinstance(config, dict) else None
    declared = [each for each in layers if isinstance(each, dict)] if isinstance(layers, list) else []
    found = [_input(each.get("config")) for each in declared if each.get("class_name") == "InputLayer"]
    order = _order(config)
    inputs = sorted((each for each in found if each is not None), key=lambda each: order.get(each.name, 0))
    return Signature(inputs=tuple(inputs)) if inputs and len(inputs) == len(found) else None


def _order(config: object) -> dict[str, int]:
    """Where each input layer stands among the arguments of a functional model."""
    listed = config.get("input_layers") if isinstance(config, dict) else None
    entries = [each for each in listed if isinstance(each, list) and each] if isinstance(listed, list) else []
    return {str(each[0]): at for at, each in enumerate(entries)}


def _input(config: object) -> TensorSpec | None:
    if not isinstance(config, dict):
        return None
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    datatype = DATATYPES.get(str(config.get("dtype")))
    if not isinstance(shape, list) or datatype is None or not isinstance(config.get("name"), str):
        return None
    # Keras notes the batch that the model was built with, and takes any.
    sizes = tuple(size if type(size) is int and size >= 0 else -1 for size in shape[1:])
    return TensorSpec(name=config["name"], datatype=datatype, shape=(-1, *sizes))
