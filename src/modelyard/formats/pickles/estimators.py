"""What the root object of a pickle says about the model: class, version, features, classes."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.domain.model import Function
from modelyard.formats import functions
from modelyard.formats.pickles.arrays import as_array, as_scalar
from modelyard.formats.pickles.reading import Reading
from modelyard.formats.pickles.values import Blob, Global, Instance

MAX_DEPTH = 8
INNER = ("best_estimator_", "estimator_", "estimator", "regressor_", "base_estimator")
"""Where searches and wrappers keep the model that answers."""
MIXED = frozenset({
    "ColumnTransformer", "OneHotEncoder", "OrdinalEncoder", "TargetEncoder", "CountVectorizer",
    "TfidfVectorizer",
    "HashingVectorizer", "DictVectorizer", "FeatureHasher",
})  # fmt: skip
"""With one of these inside, the input is probably not one table of numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """Facts about a pickled estimator; empty where the file does not say."""

    made_by: Global
    function: Function
    sklearn_version: str = ""
    columns: tuple[str, ...] = ()
    features: int = 0
    """Width of the input table; 0 when unknown."""
    classes: tuple[object, ...] = ()
    mixed: bool = False
    """Whether columns of different types go in."""
    booster: bytes = b""
    """The beginning of a serialized booster inside."""


def describe(reading: Reading) -> Estimator | None:
    """Describe the pickle's root, or return None when it is not an object with a class."""
    root = reading.root
    if not isinstance(root, Instance) or not root.made_by.name:
        return None
    columns = _texts(_attribute(root, "feature_names_in_"))
    features = as_scalar(_first(root, "n_features_in_", "_n_features_in", "_n_features"))
    return Estimator(
        made_by=root.made_by,
        function=_function(root, 0),
        sklearn_version=_version(root),
        columns=columns,
        features=features if type(features) is int and features > 0 else len(columns),
        classes=_values(_first(root, "classes_", "_classes")),
        mixed=any(item.name in MIXED for item in reading.imports),
        booster=_booster(root),
    )


def _state(value: object) -> dict[str, object]:
    if not isinstance(value, Instance):
        return {}
    state = value.state
    return state if isinstance(state, dict) else value.items


def _attribute(value: object, name: str, depth: int = 0) -> object:
    """An attribute of an estimator or, where it delegates, of the one inside."""
    state = _state(value)
    if name in state or depth > MAX_DEPTH:
        return state.get(name)
    step = _first_step(state) if name != "classes_" else _last_step(state)
    inner = step if step is not None else next((state[key] for key in INNER if key in state), None)
    return _attribute(inner, name, depth + 1) if isinstance(inner, Instance) else None


def _first(root: Instance, *names: str) -> object:
    found = (_attribute(root, name) for name in names)
    return next((value for value in found if value is not None), None)


def _first_step(state: dict[str, object]) -> object:
    return _step(state, 0)


def _last_step(state: dict[str, object]) -> object:
    return _step(state, -1)


def _step(state: dict[str, object], index: int) -> object:
    steps = state.get("steps")
    if not isinstance(steps, list) or not steps:
        return None
    step = steps[index]
    return step[1] if isinstance(step, tuple) and len(step) == 2 else None


def _function(value: object, depth: int) -> Function:
    if not isinstance(value, Instance) or depth > MAX_DEPTH:
        return Function.UNKNOWN
    known = functions.of_class(value.made_by.module, value.made_by.name)
    if known is not Function.UNKNOWN:
        return known
    state = _state(value)
    last = _last_step(state)
    for inner in (last, *(state.get(key) for key in INNER)):
        found = _function(inner, depth + 1)
        if found is not Function.UNKNOWN:
            return found
    return functions.of_objective(_objective(state)) if value.made_by.name == "Booster" else Function.UNKNOWN


def _objective(state: dict[str, object]) -> str:
    params = state.get("params")
    objective = params.get("objective") if isinstance(params, dict) else None
    return objective if isinstance(objective, str) else ""


def _version(root: Instance) -> str:
    found = _attribute(root, "_sklearn_version")
    return found if isinstance(found, str) else ""


def _values(value: object) -> tuple[object, ...]:
    array = as_array(value)
    if array is None or array.values is None or len(array.shape) != 1:
        return ()
    return array.values


def _texts(value: object) -> tuple[str, ...]:
    values = _values(value)
    texts = tuple(item for item in values if isinstance(item, str))
    return texts if len(texts) == len(values) else ()


def _booster(root: Instance) -> bytes:
    booster = root if root.made_by.name == "Booster" else _state(root).get("_Booster")
    handle = _state(booster).get("handle")
    if isinstance(handle, Instance) and handle.args:
        handle = handle.args[0]
    return handle.head if isinstance(handle, Blob) else b""
