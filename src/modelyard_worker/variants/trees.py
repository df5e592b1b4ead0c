"""Decision trees of any library as flat arrays of doubles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, Optional

import numpy as np

from modelyard_worker import fitted
from modelyard_worker.variants import boosted
from modelyard_worker.variants.flat import Forest, Trees, joined
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Numbers

FORESTS = (
    "RandomForestClassifier",
    "RandomForestRegressor",
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
)
SINGLE = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
GRADIENT = ("GradientBoostingClassifier", "GradientBoostingRegressor")


@dataclass(frozen=True)
class Split:
    """A model as what happens before its trees, and the trees."""

    before: Any
    """A fitted pipeline, or None when the trees see the inputs themselves."""
    model: Any
    """The estimator whose trees these are."""
    trees: Trees


def split(model: Any) -> Optional[Split]:
    """The trees that a model ends in; None when it ends in something else. Raises Unfit."""
    best = getattr(model, "best_estimator_", None)
    if best is not None:
        return split(best)
    steps = getattr(model, "steps", None)
    if isinstance(steps, list) and steps:
        inner = split(steps[-1][1])
        if inner is None or inner.before is not None or len(steps) == 1:
            return inner if len(steps) == 1 else None
        return Split(before=model[:-1], model=inner.model, trees=inner.trees)
    trees = of(model)
    return None if trees is None else Split(before=None, model=model, trees=trees)


def of(model: Any) -> Optional[Trees]:
    """The trees that an estimator or booster consists of; None when it does not. Raises Unfit."""
    if not type(model).__module__.startswith(fitted.PLAIN):
        return None
    name = type(model).__name__
    if name in FORESTS + SINGLE:
        return _forest(model, list(model.estimators_) if name in FORESTS else [model])
    if name in GRADIENT:
        return _gradient(model)
    return boosted.trees(model)


def _forest(model: Any, members: List[Any]) -> Trees:
    classes = getattr(model, "classes_", None)
    if isinstance(classes, list):
        raise Unfit("it predicts several targets at once, each with classes of its own")
    values = [member.tree_.value for member in members]
    if classes is None:
        leaves = [value[:, :, 0] for value in values]
        return Trees(
            forest=_joined(members, leaves), strict=False, single=True, outputs=leaves[0].shape[1],
            base=np.zeros(leaves[0].shape[1]), divisor=float(len(members)), post="identity",
        )  # fmt: skip
    counts = [value[:, 0, :] for value in values]
    shares = [count / np.maximum(count.sum(axis=1, keepdims=True), 1e-300) for count in counts]
    return Trees(
        forest=_joined(members, shares), strict=False, single=True, outputs=len(classes),
        base=np.zeros(len(classes)), divisor=float(len(members)), post="shares",
    )  # fmt: skip


def _gradient(model: Any) -> Trees:
    stages, columns = model.estimators_.shape
    members = list(model.estimators_.ravel())
    start = _constant_start(model)
    loss = str(getattr(model, "loss", ""))
    post = "identity"
    if hasattr(model, "classes_"):
        post = "softmax" if columns > 1 else "sigmoid"
    return Trees(
        forest=_joined(
            members,
            [member.tree_.value[:, 0, :] * model.learning_rate for member in members],
            targets=np.tile(np.arange(columns), stages),
        ),
        strict=False,
        single=True,
        outputs=columns,
        base=start,
        divisor=1.0,
        post=post,
        slope=2.0 if loss == "exponential" else 1.0,
        tie_high=True,
    )


def _constant_start(model: Any) -> Numbers:
    """What gradient boosting begins with, when that is the same for every row."""
    rows = np.asarray([[0.0] * model.n_features_in_, [1.0] * model.n_features_in_], dtype=np.float32)
    start = np.asarray(model._raw_predict_init(rows), dtype=np.float64)
    if type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor", "str"):
        raise Unfit(f"it begins with the predictions of another model ({type(model.init_).__name__})")
    first: Numbers = start[0]
    return first


def _joined(members: List[Any], leaves: List[Any], targets: Any = None) -> Forest:
    parts = [
        Forest(
            feature=np.maximum(each.tree_.feature, 0).astype(np.int64),
            threshold=each.tree_.threshold.astype(np.float64),
            left=each.tree_.children_left.astype(np.int64),
            right=each.tree_.children_right.astype(np.int64),
            missing_left=_missing_left(each.tree_),
            value=np.asarray(value, dtype=np.float64),
            root=np.zeros(1, dtype=np.int64),
            target=np.zeros(1, dtype=np.int64),
        )
        for each, value in zip(members, leaves)
    ]
    return joined(parts, targets)


def _missing_left(tree: Any) -> Numbers:
    known = getattr(tree, "missing_go_to_left", None)
    if known is None:
        return np.zeros(tree.node_count, dtype=bool)
    return np.asarray(known, dtype=bool)
