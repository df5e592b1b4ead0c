"""What kind of file this is, by its first bytes and its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path, PurePosixPath

from modelyard.formats.pickles.source import compression

HEAD = 4096


class Kind(StrEnum):
    """Kinds of file that hold a model."""

    PICKLE = "a pickle"
    SKOPS = "a skops file"
    XGBOOST_JSON = "XGBoost JSON"
    XGBOOST_UBJ = "XGBoost UBJ"
    LIGHTGBM_TEXT = "LightGBM text"
    CATBOOST_BINARY = "CatBoost CBM"
    CATBOOST_JSON = "CatBoost JSON"
    ONNX = "ONNX"
    PYTHON = "Python source"
    XGBOOST_BINARY = "XGBoost's old binary format"
    TORCH = "PyTorch"
    SAFETENSORS = "safetensors"
    KERAS = "Keras"
    KERAS_H5 = "Keras HDF5"
    SAVED_MODEL = "a TensorFlow SavedModel"
    PMML = "PMML"
    SPARK = "a Spark pipeline"
    MLFLOW = "an MLflow model"
    HUGGINGFACE = "a Hugging Face model"


REMEDIES: dict[Kind, str] = {
    Kind.XGBOOST_BINARY: (
        "it is in XGBoost's old binary format, which current versions no longer read; "
        "load it with the version that wrote it and save it as model.ubj or model.json"
    ),
}
"""Kinds that are recognised and not served, with what to do instead."""

EXTENSIONS: dict[str, Kind] = {
    ".joblib": Kind.PICKLE, ".pkl": Kind.PICKLE, ".pickle": Kind.PICKLE, ".sav": Kind.PICKLE,
    ".skops": Kind.SKOPS, ".ubj": Kind.XGBOOST_UBJ, ".onnx": Kind.ONNX,
    ".cbm": Kind.CATBOOST_BINARY,
    ".pt": Kind.TORCH, ".pth": Kind.TORCH, ".pt2": Kind.TORCH, ".safetensors": Kind.SAFETENSORS,
    ".h5": Kind.KERAS_H5, ".hdf5": Kind.KERAS_H5, ".keras": Kind.KERAS,
    ".pmml": Kind.PMML,
}  # fmt: skip
COMPRESSED = frozenset({".z", ".gz", ".bz2", ".xz", ".lzma", ".lz4"})
"""Endings that joblib compresses for; more than a model when the name says nothing else."""
CATBOOST_JSON = re.compile(
    rb'\A\s*\{\s*"(?:ctr_data|features_info|model_info|oblivious_trees|scale_and_bias|trees)"\s*:'
)
PMML_ROOT = re.compile(rb"<(?:[\w.-]+:)?PMML[\s>]")
JSON_MODEL = re.compile(rb'\A\s*\{\s*"(?:learner|version|Config)"', re.DOTALL)
LEGACY_HEADS = (b"binf", b"bs64")
OPAQUE = frozenset({Kind.ONNX, Kind.TORCH, Kind.SAFETENSORS, Kind.KERAS, Kind.KERAS_H5, Kind.SAVED_MODEL})
"""Kinds whose name is believed: their readers judge the bytes, whatever else those look like."""
PROTOCOL = re.compile(rb"\x80[\x02-\x05](?:\x95|[\]}()cKX\x8c])")


def by_name(name: str) -> Kind | None:
    """Say what a file's name promises; None when it promises nothing."""
    path = PurePosixPath(name.lower())
    if path.name == "saved_model.pb":
        return Kind.SAVED_MODEL
    return EXTENSIONS.get(path.suffix) or (
        EXTENSIONS.get(PurePosixPath(path.stem).suffix) if path.suffix in COMPRESSED else None
    )


def of_file(path: Path) -> Kind | None:
    """Say what a file is, by its bytes where they tell and by its name where they do not."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    promised = by_name(path.name)
    return _by_bytes(head, promised) or promised


def _by_bytes(head: bytes, promised: Kind | None) -> Kind | None:
    for kind, is_one in _HEADS.items():
        if is_one(head):
            return kind
    if promised in OPAQUE:
        return None
    if PROTOCOL.match(head):
        return Kind.PICKLE
    return _zip(head, promised)


def _is_pmml(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and PMML_ROOT.search(head) is not None


_HEADS: dict[Kind, Callable[[bytes], object]] = {
    Kind.XGBOOST_JSON: lambda head: JSON_MODEL.match(head) and b'"learner"' in head,
    Kind.XGBOOST_UBJ: lambda head: head.startswith(b"{L\x00") and b"learner" in head[:64],
    Kind.LIGHTGBM_TEXT: lambda head: head.startswith(b"tree\n") and b"version=" in head[:64],
    Kind.CATBOOST_JSON: CATBOOST_JSON.match,
    Kind.CATBOOST_BINARY: lambda head: head.startswith(b"CBM1"),
    Kind.PMML: _is_pmml,
    Kind.XGBOOST_BINARY: lambda head: head.startswith(LEGACY_HEADS),
}


def _zip(head: bytes, promised: Kind | None) -> Kind | None:
    if not head.startswith(b"PK\x03\x04"):
        compressed = promised is Kind.PICKLE and bool(compression(head))
        return Kind.PICKLE if compressed else None
    if b"data.pkl" in head or b"archive/" in head[:200]:
        return Kind.TORCH
    return promised if promised is Kind.SKOPS else None
