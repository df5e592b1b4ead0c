"""What a fitted estimator tells about its inputs: names, count, columns of text, need of a DataFrame."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

NESTED = (
    "best_estimator_",
    "estimator_",
    "estimator",
    "base_estimator",
    "final_estimator_",
    "regressor_",
    "classifier_",
    "transformer_",
)
"""Attributes that hold one estimator."""

LISTS = ("steps", "transformers_", "transformer_list", "estimators_", "calibrated_classifiers_")
"""Attributes that hold several, bare or in tuples."""

PLAIN = ("sklearn.", "xgboost.", "lightgbm.")
"""Libraries whose estimators take arrays where they were fitted on DataFrames (the exceptions are below)."""

BY_NAME = ("ColumnTransformer", "FunctionTransformer")
ENOUGH = 32
"""A forest's trees are alike: so many members of a list are looked at."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a fitted estimator."""

    names: Optional[List[str]]
    """Column names when it was fitted on a DataFrame."""
    count: Optional[int]
    examples: Dict[int, Any]
    """An example string by position of each column that holds text."""
    categories: Dict[int, List[Any]]
    """Categories by position, for columns that must be pandas categoricals."""
    documents: bool
    """It takes a list of texts and not a table."""
    frame: bool
    """It works on DataFrames only."""
    single: bool
    """It was fitted on float32."""

    @property
    def columns(self) -> List[str]:
        """The column names, made up (`x0`, `x1`, …) when it has none."""
        return self.names or [f"x{index}" for index in range(self.count or 0)]

    @property
    def example_by_name(self) -> Dict[str, Any]:
        """An example string by input name."""
        if self.documents:
            return {"input": "text"}
        return {self.columns[at]: example for at, example in self.examples.items()}


def inputs_of(model: Any) -> Inputs:
    """Read the inputs of a fitted estimator from the object itself."""
    names = feature_names(model)
    parts = list(walk(model))
    count = getattr(model, "n_features_in_", None)
    examples = {} if names is None and count is None else text_columns(model, names, count or 0)
    categories = _pandas_categories(parts)
    examples.update({at: str(values[0]) for at, values in categories.items() if isinstance(values[0], str)})
    return Inputs(
        names=names,
        count=len(names) if names else (int(count) if count is not None else None),
        examples=examples,
        categories=categories,
        documents=names is None and count is None and any(_reads_documents(part) for part in parts[:4]),
        frame=names is not None
        and (bool(examples or categories) or any(_wants_names(part) for part in parts)),
        single=any(_float32(part) for part in parts[:4]),
    )


def feature_names(model: Any) -> Optional[List[str]]:
    """Column names of the DataFrame that a model was fitted on; names that a library made up do not count."""
    names = getattr(model, "feature_names_in_", None)
    if names is None or len(names) == 0:
        return None
    listed = [str(name) for name in names]
    return None if all(re.fullmatch(r"Column_\d+", name) for name in listed) else listed


def walk(model: Any) -> Iterator[Any]:
    """The estimator and everything that it is made of."""
    yield model
    for name in NESTED:
        inner = vars(model).get(name) if hasattr(model, "__dict__") else None
        if hasattr(inner, "get_params"):
            yield from walk(inner)
    for name in LISTS:
        members = getattr(model, "__dict__", {}).get(name)
        for member in list(members)[:ENOUGH] if isinstance(members, (list, tuple)) else ():
            inner = member[1] if isinstance(member, tuple) and len(member) > 1 else member
            if hasattr(inner, "get_params") or (hasattr(inner, "__dict__") and not isinstance(inner, type)):
                yield from walk(inner)


def text_columns(model: Any, names: Optional[List[str]], count: int) -> Dict[int, Any]:
    """Positions of the columns that hold text, each with a string that the model has seen."""
    found: Dict[int, Any] = {}
    for transformer, places in first_steps(model, names, count):
        found.update(_examples(transformer, places))
    return found


def text_values(model: Any, names: Optional[List[str]], count: int) -> Dict[int, List[str]]:
    """Positions of the columns that hold text, each with all the strings that the model knows."""
    found = {at: [str(example)] for at, example in text_columns(model, names, count).items()}
    for transformer, places in first_steps(model, names, count):
        for part in walk(transformer):
            categories = getattr(part, "categories_", None)
            if isinstance(categories, list) and len(categories) == len(places):
                for at, values in zip(places, categories):
                    words = [str(value) for value in values if isinstance(value, str)]
                    if words:
                        found[at] = words
    return found


def first_steps(model: Any, names: Optional[List[str]], count: int) -> "Iterator[Tuple[Any, List[int]]]":
    """What sees the columns first, with the positions of those that it sees; a pipeline as a whole."""
    split = next((part for part in walk(model) if hasattr(part, "transformers_")), None)
    if split is None:
        yield model, list(range(count))
        return
    for _, transformer, columns in split.transformers_:
        if not isinstance(transformer, str):
            yield transformer, _positions(columns, names, count)


def _examples(transformer: Any, columns: List[int]) -> Dict[int, Any]:
    for part in walk(transformer):
        if _reads_documents(part) and len(columns) == 1:
            return {columns[0]: "text"}
        categories = getattr(part, "categories_", None)
        if isinstance(categories, list) and len(categories) == len(columns):
            return {
                at: _first(values) for at, values in zip(columns, categories) if _first(values) is not None
            }
        statistics = getattr(part, "statistics_", None)
        if isinstance(statistics, np.ndarray) and len(statistics) == len(columns):
            texts = {at: item for at, item in zip(columns, statistics) if isinstance(item, str)}
            if texts and not any(hasattr(each, "categories_") for each in walk(transformer)):
                return texts
    return {}


def _first(values: Any) -> Optional[str]:
    return next((str(value) for value in values if isinstance(value, str)), None)


def _positions(columns: Any, names: Optional[List[str]], count: int) -> List[int]:
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):
            return []
        return list(range(count))[columns]
    listed: Sequence[Any] = [columns] if isinstance(columns, (str, int, np.integer)) else list(columns)
    if listed and all(isinstance(each, (bool, np.bool_)) for each in listed):
        return [at for at, chosen in enumerate(listed) if chosen]
    known = {name: at for at, name in enumerate(names or ())}
    return [
        known[each] if isinstance(each, str) else int(each) % max(count, 1)
        for each in listed
        if each in known or not isinstance(each, str)
    ]


def _reads_documents(part: Any) -> bool:
    return type(part).__module__.startswith("sklearn.feature_extraction.text")


def _wants_names(part: Any) -> bool:
    kind = type(part)
    return kind.__name__ in BY_NAME or (hasattr(part, "transform") and not kind.__module__.startswith(PLAIN))


def _float32(part: Any) -> bool:
    for name in ("coef_", "cluster_centers_", "components_", "_fit_X", "mean_"):
        value = vars(part).get(name) if hasattr(part, "__dict__") else None
        if isinstance(value, np.ndarray):
            return bool(value.dtype == np.float32)
    return False


def _pandas_categories(parts: List[Any]) -> Dict[int, List[Any]]:
    for part in parts:
        booster = getattr(part, "_Booster", None)
        if type(part).__module__.startswith("lightgbm.") and booster is not None:
            return lightgbm_categories(booster.pandas_categorical, booster.model_to_string(num_iteration=1))
    return {}


def lightgbm_categories(lists: Any, text: str) -> Dict[int, List[Any]]:
    """Categories by column position of a LightGBM model that was fitted on pandas categoricals.

    `text` is the model's text form: its feature_infos tell categories (`0:1:2`) from ranges (`[0:9]`).
    """
    infos = re.search(r"^feature_infos=(.*)$", text, re.MULTILINE)
    if not lists or infos is None:
        return {}
    places = [
        at for at, info in enumerate(infos.group(1).split()) if not info.startswith("[") and info != "none"
    ]
    return dict(zip(places, lists)) if len(places) == len(lists) else {}
