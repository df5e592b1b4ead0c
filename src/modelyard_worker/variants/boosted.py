"""Boosted trees of XGBoost, LightGBM and histogram gradient boosting, read through treelite."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from modelyard_worker.variants.flat import Forest, Trees, joined
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Numbers

HISTOGRAM = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
FORESTS = (
    "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor",
    "GradientBoostingClassifier", "GradientBoostingRegressor",
)  # fmt: skip
POSTS = {
    "identity": "identity",
    "identity_multiclass": "identity",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
    "exponential": "exponential",
    "multiclass_ova": "sigmoids",
}
"""treelite's last steps in our words; others have no compiled form here."""

NEAR_ZERO = float(np.float32(1e-35))
"""LightGBM takes values of a dense row that are no further from zero as zero."""
_NUMERICAL, _LEAF, _CATEGORICAL = 1, 0, 2
_LESS, _LESS_EQUAL = 2, 3


def is_read(model: Any) -> bool:
    """Whether treelite reads such a model at all."""
    name, module = type(model).__name__, type(model).__module__
    if module.startswith("sklearn."):
        return name in HISTOGRAM + FORESTS
    return module.startswith(("xgboost.", "lightgbm."))


def trees(model: Any) -> Optional[Trees]:
    """The model's trees; None for one of another kind. Raises Unfit."""
    if not is_read(model) or type(model).__name__ in FORESTS:
        return None
    found = flattened(imported(model), single=type(model).__module__.startswith("xgboost."))
    return replace(found, zero=NEAR_ZERO) if type(model).__module__.startswith("lightgbm.") else found


def imported(model: Any) -> Any:
    """The model in treelite's memory. Raises Unfit, also when treelite is not installed here."""
    if importlib.util.find_spec("treelite") is None:
        raise Unfit("the runtime has no treelite, which reads boosted trees; add it to the runtime")
    treelite = importlib.import_module("treelite")
    module = type(model).__module__
    try:
        if module.startswith("sklearn."):
            return importlib.import_module("treelite.sklearn").import_model(model)
        if module.startswith("xgboost."):
            return treelite.frontend.from_xgboost(_whole(model))
        return treelite.frontend.from_lightgbm(getattr(model, "booster_", model))
    except (treelite.TreeliteError, NotImplementedError, ValueError, TypeError) as error:
        raise Unfit(f"treelite does not read it: {str(error).strip()[:300]}") from error


def _whole(model: Any) -> Any:
    """An XGBoost booster with the rounds that its wrapper predicts with."""
    if not hasattr(model, "get_booster"):
        return model
    booster = model.get_booster()
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def flattened(model: Any, *, single: bool) -> Trees:
    """treelite's trees as flat arrays. Raises Unfit for splits and sums that have no compiled form."""
    header = model.get_header_accessor()
    post = str(header.get_field("postprocessor"))
    if post not in POSTS:
        raise Unfit(f"its last step ({post}) has no compiled form")
    if int(header.get_field("num_target")[0]) != 1:
        raise Unfit("it predicts several targets at once")
    classes = int(header.get_field("num_class")[0])
    parts = [_part(model.get_tree_accessor(number)) for number in range(model.num_tree)]
    comparisons = {kind for _, kind in parts} - {0}
    if not parts or (not comparisons <= {_LESS} and not comparisons <= {_LESS_EQUAL}):
        raise Unfit("its trees compare in several ways")
    targets = np.asarray(header.get_field("class_id"), dtype=np.int64)
    average = bool(header.get_field("average_tree_output")[0])
    return Trees(
        forest=joined([part for part, _ in parts], np.maximum(targets, 0)),
        strict=comparisons == {_LESS},
        single=single,
        outputs=classes,
        base=np.array(header.get_field("base_scores"), dtype=np.float64),  # a copy: the field is a view
        divisor=len(parts) / classes if average else 1.0,
        post=POSTS[post],
        slope=float(header.get_field("sigmoid_alpha")[0]) if post in ("sigmoid", "multiclass_ova") else 1.0,
    )


def _part(tree: Any) -> "tuple[Forest, int]":
    kinds = np.asarray(tree.get_field("node_type"))
    if (kinds == _CATEGORICAL).any():
        raise Unfit("it splits by categories, which only treelite computes")
    if len(tree.get_field("leaf_vector")):
        raise Unfit("its leaves are vectors")
    inner = kinds == _NUMERICAL
    compared = np.unique(np.asarray(tree.get_field("cmp"))[inner])
    if len(compared) > 1:
        raise Unfit("its trees compare in several ways")
    forest = Forest(
        feature=np.maximum(np.asarray(tree.get_field("split_index")), 0).astype(np.int64),
        threshold=np.asarray(tree.get_field("threshold"), dtype=np.float64),
        left=_children(tree, "cleft", inner),
        right=_children(tree, "cright", inner),
        missing_left=np.asarray(tree.get_field("default_left"), dtype=bool),
        value=np.asarray(tree.get_field("leaf_value"), dtype=np.float64).reshape(-1, 1),
        root=np.zeros(1, dtype=np.int64),
        target=np.zeros(1, dtype=np.int64),
    )
    return forest, int(compared[0]) if len(compared) else 0


def _children(tree: Any, field: str, inner: Numbers) -> Numbers:
    return np.where(inner, np.asarray(tree.get_field(field)), -1).astype(np.int64)
