"""XGBoost's own files, JSON and UBJ, and the boosters inside pickles."""

from __future__ import annotations

import re
from pathlib import Path

from modelyard.domain.model import Format, Serialization
from modelyard.formats import bytesview, functions, jsontext, signatures
from modelyard.formats.bytesview import Damaged
from modelyard.formats.found import Detected
from modelyard.formats.ubjson import Reader

WANTED = frozenset(
    {"feature_names", "feature_types", "learner_model_param", "objective", "learner_train_param"}
)
SKIPPED = frozenset({"model", "trees", "cats"})
PICKLED_VERSION = re.compile(rb"\x07version\[#L\x00{7}\x03i(.)i(.)i(.)", re.DOTALL)
PICKLED_WIDTH = re.compile(rb"num_featureSL.{8}([0-9]{1,9})", re.DOTALL)
PICKLED_NAMES = b"\x0dfeature_names["


def read_json(path: Path, entry: str) -> Detected:
    """Read a booster saved as JSON. Raises Damaged."""
    with bytesview.opened(path) as data:
        jsontext.require_nothing_after(data, 0)
        top = dict(jsontext.members(data))
        if "learner" not in top:
            raise Damaged("it has no `learner`, so it is not a model of XGBoost")
        learner: dict[str, object] = {}
        for key, start in jsontext.members(data, top["learner"]):
            if key in WANTED:
                learner[key] = jsontext.load(data, start)
            elif key == "gradient_booster":
                learner[key] = _booster_name(data, start)
        version = jsontext.load(data, top["version"]) if "version" in top else None
    return _described(learner, version, entry, Serialization.XGBOOST_JSON)


def read_ubj(path: Path, entry: str) -> Detected:
    """Read a booster saved as UBJ. Raises Damaged."""
    with bytesview.opened(path) as data:
        reader = Reader(data, skipped=SKIPPED)
        top = reader.value()
        if reader.at != len(data):
            raise Damaged("something follows the end of the model")
    learner = top.get("learner") if isinstance(top, dict) else None
    if not isinstance(top, dict) or not isinstance(learner, dict):
        raise Damaged("it has no `learner`, so it is not a model of XGBoost")
    booster = learner.get("gradient_booster")
    learner["gradient_booster"] = booster.get("name") if isinstance(booster, dict) else ""
    return _described(learner, top.get("version"), entry, Serialization.XGBOOST_UBJ)


def pickled(head: bytes) -> tuple[str, int, tuple[str, ...]]:
    """Version, width and column names from the beginning of a pickled booster; empty where unknown."""
    version, width = PICKLED_VERSION.search(head), PICKLED_WIDTH.search(head)
    names: object = ()
    at = head.find(PICKLED_NAMES)
    if at >= 0:
        try:
            names = Reader(head, at=at + len(PICKLED_NAMES) - 1).value()
        except Damaged:
            names = ()
    return (
        ".".join(str(part[0]) for part in version.groups()) if version else "",
        int(width[1]) if width else 0,
        _texts(names),
    )


def _booster_name(data: jsontext.Bytes, start: int) -> object:
    for key, at in jsontext.members(data, start):
        if key == "name":
            return jsontext.load(data, at)
    return ""


def _described(
    learner: dict[str, object], version: object, entry: str, serialization: Serialization
) -> Detected:
    params = learner.get("learner_model_param")
    objective = learner.get("objective")
    if not isinstance(params, dict) or not isinstance(objective, dict):
        raise Damaged("it has no `learner_model_param` or `objective`, so it is not a whole model of XGBoost")
    function = functions.of_objective(str(objective.get("name", "")))
    name = learner.get("gradient_booster")
    return Detected(
        format=Format.XGBOOST,
        serialization=serialization,
        entry=entry,
        framework_version=_version(version),
        algorithm=name if isinstance(name, str) and name else "booster",
        function=function,
        signature=signatures.of_booster(
            features=_count(params.get("num_feature")),
            columns=_texts(learner.get("feature_names")),
            function=function,
            classes=_count(params.get("num_class")),
        ),
        notes=(f"objective {objective.get('name', '')}",),
    )


def _version(value: object) -> str:
    if isinstance(value, list) and len(value) == 3 and all(type(part) is int and part >= 0 for part in value):
        return ".".join(str(part) for part in value)
    return ""


def _count(value: object) -> int:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 7 else 0


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return ()
    return tuple(item for item in value if isinstance(item, str))
