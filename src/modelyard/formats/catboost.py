"""CatBoost's own files: `.cbm`, a FlatBuffer with tables behind it, and JSON."""

from __future__ import annotations

import json
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.domain.model import Datatype, Format, Function, Serialization, Signature, TensorSpec
from modelyard.formats import bytesview, flatbuffers, jsontext, signatures
from modelyard.formats.bytesview import Damaged
from modelyard.formats.flatbuffers import Table
from modelyard.formats.found import Detected

MAGIC = b"CBM1"
CORE = "FlabuffersModel_v1"
CTR_TABLES = ("static_provider_v1",)
VERSION = re.compile(r"(?:tags/v|CatBoost release )(\d+\.\d+(?:\.\d+)?)")
MAX_FEATURES = 1_000_000
SEVERAL_LABELS = ("MultiLogloss", "MultiCrossEntropy")
CLASSIFYING = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll", *SEVERAL_LABELS)
RANKING = (
    "YetiRank", "YetiRankPairwise", "QueryRMSE", "QuerySoftMax", "QueryCrossEntropy", "PairLogit",
    "PairLogitPairwise", "LambdaMart", "StochasticFilter", "StochasticRank", "GroupQuantile",
)  # fmt: skip
# Fields of the file's own schema, by their numbers.
_FORMAT, _TREES, _INFO, _PARTS = 0, 1, 2, 3
_DIMENSION, _CATEGORICAL, _NUMERIC, _TEXT, _EMBEDDING = 0, 4, 5, 12, 18


@dataclass(frozen=True, slots=True)
class _Feature:
    at: int
    """Its place in a row."""
    name: str
    text: bool


def read_binary(path: Path, entry: str) -> Detected:
    """Read a `.cbm` file. Raises Damaged."""
    with bytesview.opened(path) as data:
        core, end = _core(data)
        if core.text(_FORMAT) != CORE:
            raise Damaged("its inner format is not known; save it with CatBoost 1 or later")
        trees = core.table(_TREES)
        info = {pair.text(0): pair.text(1) for pair in core.tables(_INFO)}
        _check_tables(data, core, end)
        if trees.count(_EMBEDDING):
            raise Damaged("it takes embeddings as features, which requests cannot carry; publish a model.py")
        features = [*_features(trees, _NUMERIC, name=4), *_features(trees, _CATEGORICAL, name=2, text=True)]
        features += _features(trees, _TEXT, name=2, text=True)
        dimension = trees.number(_DIMENSION, 1)
    return _described(features, dimension, info, entry, Serialization.CATBOOST_BINARY)


def read_json(path: Path, entry: str) -> Detected:
    """Read a model saved as JSON. Raises Damaged."""
    with bytesview.opened(path) as data:
        jsontext.require_nothing_after(data, 0)
        top = dict(jsontext.members(data))
        if "features_info" not in top or not {"oblivious_trees", "trees"} & top.keys():
            raise Damaged("it has no `features_info` or no trees, so it is not a whole model of CatBoost")
        described = jsontext.load(data, top["features_info"])
        info = jsontext.load(data, top["model_info"]) if "model_info" in top else {}
        scale = jsontext.load(data, top["scale_and_bias"]) if "scale_and_bias" in top else []
    if not isinstance(described, dict) or not isinstance(info, dict):
        raise Damaged("its `features_info` or `model_info` is not an object")
    features = [
        _feature(each, text=key != "float_features")
        for key in ("float_features", "categorical_features", "text_features")
        for each in described.get(key) or ()
    ]
    bias = scale[1] if isinstance(scale, list) and len(scale) > 1 else None
    dimension = len(bias) if isinstance(bias, list) else 1
    texts = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in info.items()}
    return _described(features, dimension, texts, entry, Serialization.CATBOOST_JSON)


def _core(data: mmap.mmap) -> tuple[Table, int]:
    if data[:4] != MAGIC or len(data) < 16:
        raise Damaged("it ends too early or does not begin with `CBM1`")
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise Damaged("it ends too early: its trees are not all there")
    return flatbuffers.root(data, 8, end), end


def _check_tables(data: mmap.mmap, core: Table, at: int) -> None:
    """Walk over the tables of categories behind the trees, which must end where the file does."""
    parts = core.texts(_PARTS)
    if parts == CTR_TABLES:
        count, at = _u32(data, at), at + 4
        while count and at < len(data):
            count, at = count - 1, at + 4 + _u32(data, at)
        if count:
            raise Damaged("it ends too early: its tables of categories are not all there")
    elif parts and at < len(data):
        return  # parts of other kinds, such as dictionaries of texts: the library itself looks there
    if at != len(data):
        raise Damaged("it ends too early, or something follows the end of the model")


def _u32(data: mmap.mmap, at: int) -> int:
    if at + 4 > len(data):
        raise Damaged("it ends too early: its tables of categories are not all there")
    return int(struct.unpack_from("<I", data, at)[0])


def _features(trees: Table, field: int, *, name: int, text: bool = False) -> Iterator[_Feature]:
    for each in trees.tables(field):
        at = each.number(1, -1)
        if not 0 <= at < MAX_FEATURES:
            raise Damaged("one of its features has no place")
        yield _Feature(at, each.text(name), text)


def _feature(described: Any, *, text: bool) -> _Feature:
    at = described.get("flat_feature_index") if isinstance(described, dict) else None
    if type(at) is not int or not 0 <= at < MAX_FEATURES:
        raise Damaged("one of its features has no place")
    return _Feature(at, str(described.get("feature_id") or ""), text)


def _described(
    features: list[_Feature], dimension: int, info: dict[str, str], entry: str, serialization: Serialization
) -> Detected:
    loss = _loss(info.get("params", ""))
    function = Function.REGRESSION if loss not in (*RANKING, "") else Function.UNKNOWN
    if loss in CLASSIFYING:
        function = Function.CLASSIFICATION
    version = VERSION.search(info.get("catboost_version_info", ""))
    return Detected(
        format=Format.CATBOOST,
        serialization=serialization,
        entry=entry,
        framework_version=version[1] if version else "",
        algorithm=f"CatBoost ({loss})" if loss else "CatBoost",
        function=function,
        signature=_signature(features, _outputs(loss, dimension, info.get("class_params", ""))),
        notes=(f"loss function {loss or 'unknown'}",),
    )


def _loss(text: str) -> str:
    loss = _object(text).get("loss_function")
    return str(loss.get("type", "")) if isinstance(loss, dict) else ""


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _signature(features: list[_Feature], outputs: tuple[TensorSpec, ...]) -> Signature | None:
    if not features:
        return None
    known = {each.at: each for each in features}
    width = max(known) + 1
    columns = [known[at].name if at in known and known[at].name else f"x{at}" for at in range(width)]
    if not any(each.text for each in features):
        return Signature(inputs=(signatures.table(width, tuple(columns)),), outputs=outputs)
    inputs = tuple(
        TensorSpec(name=name, datatype=_datatype(known.get(at)), shape=(-1,))
        for at, name in enumerate(columns)
    )
    return Signature(inputs=inputs, outputs=outputs)


def _datatype(feature: _Feature | None) -> Datatype:
    return Datatype.BYTES if feature is not None and feature.text else Datatype.FP64


def _outputs(loss: str, dimension: int, class_params: str) -> tuple[TensorSpec, ...]:
    several = (dimension,) if dimension > 1 else ()
    if not loss:
        return ()
    if loss not in CLASSIFYING:
        return (TensorSpec(name="prediction", datatype=Datatype.FP64, shape=(-1, *several)),)
    said = _object(class_params)
    width = max(2, dimension)
    names = said.get("class_names") or list(range(width))
    columns = tuple(_shown(name) for name in names) if len(names) == width else ()
    kind = Datatype.BYTES if said.get("class_label_type") == "String" else Datatype.INT64
    label = TensorSpec(name="label", datatype=kind, shape=(-1,))
    if loss in SEVERAL_LABELS:
        label = TensorSpec(name="label", datatype=Datatype.INT64, shape=(-1, *several))
    return label, TensorSpec(name="probabilities", datatype=Datatype.FP64, shape=(-1, width), columns=columns)


def _shown(name: Any) -> str:
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)
