"""Hugging Face directories: configuration, tokenizer and weights, read without their libraries."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from modelyard.domain.model import (
    Datatype,
    Format,
    Function,
    ModelTask,
    Serialization,
    Signature,
    TensorSpec,
)
from modelyard.formats import bytesview, jsontext, limits, onnx, smalljson
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected

CONFIG, TOKENIZER, MODULES = "config.json", "tokenizer.json", "modules.json"
GRAPHS = ("model.onnx", "onnx/model.onnx")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
OLD_WEIGHTS = "pytorch_model.bin"
FED = frozenset({"input_ids", "attention_mask", "token_type_ids"})
"""Inputs of a graph that a tokenizer gives."""
MODULE_TYPES = frozenset({"Transformer", "Pooling", "Normalize"})
POOLINGS = frozenset({"cls", "max", "mean"})
HEADS = ("ForSequenceClassification", "ForTextClassification")
OTHER_HEADS = ("For", "LMHead", "DoubleHeads", "WithLMHead")
MAX_HEADER = 100 * limits.MIB


def home_of(files: tuple[str, ...]) -> PurePosixPath | None:
    """The folder that holds a tokenizer, a configuration and weights; None when there is no single one."""
    known = set(files)
    folders = [
        path.parent
        for path in map(PurePosixPath, files)
        if path.name == TOKENIZER and (path.parent / CONFIG).as_posix() in known
    ]
    whole = [folder for folder in folders if weights_of(folder, known)]
    return whole[0] if len(whole) == 1 else None


def weights_of(folder: PurePosixPath, files: set[str]) -> str:
    """The file that would be loaded, a graph before weights; empty when there is none."""
    for name in (*GRAPHS, *WEIGHTS, OLD_WEIGHTS):
        if (folder / name).as_posix() in files:
            return name
    return ""


def read(directory: Path, entry: str, files: tuple[str, ...]) -> Detected:
    """Read the model whose configuration is `entry`. Raises Damaged."""
    folder = PurePosixPath(entry).parent
    home = directory / folder
    config = smalljson.mapping(home / CONFIG, CONFIG)
    _check_tokenizer(home / TOKENIZER)
    modules = _modules(home)
    task = _task(config, modules)
    weights = weights_of(folder, set(files))
    graph = weights in GRAPHS
    if graph:
        _check_graph(directory, (folder / weights).as_posix())
    else:
        _check_weights(home, weights, config)
    return Detected(
        format=Format.HUGGINGFACE,
        serialization=Serialization.HUGGINGFACE_ONNX if graph else Serialization.HUGGINGFACE_SAFETENSORS,
        entry=entry,
        framework_version="",
        algorithm=_algorithm(config),
        function=Function.CLASSIFICATION if task is ModelTask.TEXT_CLASSIFICATION else Function.UNKNOWN,
        declared=Signature(inputs=(TensorSpec(name="text", datatype=Datatype.BYTES, shape=(-1,)),)),
        task=task,
        notes=(f"{task.value} with {weights}",),
    )


def _algorithm(config: dict[str, Any]) -> str:
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures:
        return str(architectures[0])[:100]
    return str(config.get("model_type") or "transformer")[:100]


def _task(config: dict[str, Any], modules: tuple[str, ...]) -> ModelTask:
    name = _algorithm(config)
    if modules:
        return ModelTask.FEATURE_EXTRACTION
    if name.endswith(HEADS):
        labels = config.get("id2label")
        if labels is not None and not isinstance(labels, dict):
            raise Damaged(f"`id2label` of {CONFIG} must be an object")
        return ModelTask.TEXT_CLASSIFICATION
    if any(head in name for head in OTHER_HEADS):
        raise Damaged(
            f"its architecture is {name}; only text classification (…ForSequenceClassification) and "
            "embeddings (a model without a head) are served. Publish a model.py that loads it"
        )
    return ModelTask.FEATURE_EXTRACTION


def _modules(home: Path) -> tuple[str, ...]:
    """Kinds of the modules of a sentence transformer, in order; empty when it is none."""
    path = next((each / MODULES for each in (home, home.parent) if (each / MODULES).is_file()), None)
    if path is None:
        return ()
    found = smalljson.read(path, MODULES)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Damaged(f"`{MODULES}` must be a list of objects")
    kinds = tuple(str(each.get("type")).rpartition(".")[2] for each in found)
    odd = [kind for kind in kinds if kind not in MODULE_TYPES]
    if odd:
        raise Damaged(
            f"`{MODULES}` has a module {odd[0][:60]}; only Transformer, Pooling and Normalize are known. "
            "Export the whole to one ONNX graph, or publish a model.py that loads it"
        )
    for each, kind in zip(found, kinds, strict=True):
        if kind == "Pooling":
            name = f"{each.get('path')}/{CONFIG}"
            _check_pooling(path.parent, name)
    return kinds


def _check_pooling(home: Path, name: str) -> None:
    if ".." in PurePosixPath(name).parts or not (home / name).is_file():
        raise Damaged(f"`{name[:100]}`, which `{MODULES}` names, is missing")
    wanted = modes(smalljson.mapping(home / name, name))
    odd = [mode for mode in wanted if mode not in POOLINGS]
    if odd or not wanted:
        raise Damaged(
            f"`{name}` asks for pooling {', '.join(odd) or 'of no kind'}; cls, max and mean are known"
        )


def modes(pooling: dict[str, Any]) -> tuple[str, ...]:
    """The poolings that a configuration asks for, in the order in which they are joined."""
    if isinstance(pooling.get("pooling_mode"), str):
        return (str(pooling["pooling_mode"]),)
    short = {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean"}
    asked = [key.removeprefix("pooling_mode_") for key, value in pooling.items()
             if key.startswith("pooling_mode_") and value is True]  # fmt: skip
    return tuple(sorted(short.get(each, each) for each in asked))


def _check_tokenizer(path: Path) -> None:
    try:
        with bytesview.opened(path) as data:
            jsontext.require_nothing_after(data, 0)
            parts = {name for name, _ in jsontext.members(data)}
    except Damaged as error:
        raise Damaged(f"`{TOKENIZER}`: {error}") from None
    if "model" not in parts:
        raise Damaged(f"`{TOKENIZER}` has no `model`; write it with tokenizer.save_pretrained")


def _check_graph(directory: Path, entry: str) -> None:
    try:
        found = onnx.read(directory, entry)
    except Damaged as error:
        raise Damaged(f"`{entry}`: {error}") from None
    given = {spec.name for spec in found.signature.inputs} if found.signature else FED
    if "input_ids" not in given or not given <= FED:
        odd = ", ".join(sorted(given - FED)) or "no input_ids"
        raise Damaged(f"`{entry}` takes {odd}; a tokenizer gives {', '.join(sorted(FED))}. Export it without")


def _check_weights(home: Path, name: str, config: dict[str, Any]) -> None:
    if name == OLD_WEIGHTS:
        raise Damaged(
            f"UnsafeContent: its weights are `{OLD_WEIGHTS}`, a pickle; write them again with "
            "model.save_pretrained(path, safe_serialization=True), or export the model to ONNX"
        )
    if config.get("auto_map"):
        raise Damaged(
            f"UnsafeContent: `auto_map` of {CONFIG} asks for code from elsewhere, which is never run; "
            "export the model to ONNX, or publish a model.py that brings the code"
        )
    names = [name]
    if name.endswith(".index.json"):
        index = smalljson.mapping(home / name, name).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise Damaged(f"`{name}` has no `weight_map`")
        names = sorted({str(each) for each in index.values()})
    for each in names:
        if "/" in each or not (home / each).is_file():
            raise Damaged(f"`{each[:100]}`, which `{name}` names, is missing; publish the whole directory")
        _check_safetensors(home / each, each)


def _check_safetensors(path: Path, name: str) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise Damaged(f"`{name}` is cut short or no safetensors file")
        text = file.read(length)
    try:
        header = json.loads(text)
        ends = [int(value["data_offsets"][1]) for key, value in header.items() if key != "__metadata__"]
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError, IndexError):
        raise Damaged(f"`{name}` has no header of safetensors") from None
    if max(ends, default=0) != size - 8 - length:
        raise Damaged(
            f"`{name}` has {size - 8 - length} bytes of tensors, and its header says {max(ends, default=0)}"
        )
