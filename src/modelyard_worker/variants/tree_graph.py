"""Trees as ONNX operators, compared and summed in double precision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Dict, Optional

import numpy as np

from modelyard_worker.variants.flat import Forest, joined
from modelyard_worker.variants.unfit import Unfit

if TYPE_CHECKING:
    from modelyard_worker.loaded import Numbers
    from modelyard_worker.variants.flat import Trees
    from modelyard_worker.variants.nodes import Nodes

LEARNED = "ai.onnx.ml"
MOST_NODES = 4_000_000
"""More would make a file that a front had better not load."""


def answer(nodes: Nodes, table: str, trees: Trees, labels: Optional[Numbers]) -> Dict[str, str]:
    """Add the trees' operators; returns label, probabilities or prediction to the tensors that hold them.

    `table` is a tensor FP64 [n, features]; `labels` are the classes as the original answers them.
    """
    if len(trees.forest.feature) > MOST_NODES:
        raise Unfit(f"its trees have more than {MOST_NODES} nodes")
    if trees.single:
        table = nodes.cast(nodes.cast(table, "FP32"), "FP64")
    if trees.zero:
        small = nodes.add("LessOrEqual", [nodes.add("Abs", [table]), nodes.constant(np.float64(trees.zero))])
        table = nodes.add("Where", [small, nodes.constant(np.float64(0.0)), table])
    if labels is None:
        return {"prediction": _prediction(nodes, table, trees)}
    probabilities, high = _probabilities(nodes, table, trees)
    if high is None:
        chosen = nodes.add("ArgMax", [probabilities], axis=1, keepdims=0)
    else:
        chosen = nodes.add("Reshape", [nodes.cast(high, "INT64"), nodes.constant(np.asarray([-1]))])
    label = nodes.add("Gather", [nodes.constant(labels), chosen], axis=0)
    return {"label": label, "probabilities": probabilities}


def _prediction(nodes: Nodes, table: str, trees: Trees) -> str:
    scores = _scores(nodes, table, trees)
    if trees.post == "exponential":
        return nodes.add("Exp", [scores])
    if trees.post != "identity":
        raise Unfit(f"a regression that ends in {trees.post} has no compiled form")
    return scores


def _probabilities(nodes: Nodes, table: str, trees: Trees) -> "tuple[str, Optional[str]]":
    """Probabilities [n, k], and where two classes are decided by a sign, which rows have the second."""
    if trees.post == "shares":
        return _shares(nodes, table, trees)
    scores = _scores(nodes, table, trees)
    if trees.post == "softmax":
        return nodes.add("Softmax", [scores], axis=1), None
    if trees.post not in ("sigmoid", "sigmoids"):
        raise Unfit(f"a classification that ends in {trees.post} has no compiled form")
    steep = scores
    if trees.slope != 1.0:
        steep = nodes.add("Mul", [scores, nodes.constant(np.float64(trees.slope))])
    second = nodes.add("Sigmoid", [steep])
    if trees.post == "sigmoids":
        return second, None
    first = nodes.add("Sub", [nodes.constant(np.float64(1.0)), second])
    compare = "GreaterOrEqual" if trees.tie_high else "Greater"
    high = nodes.add(compare, [scores, nodes.constant(np.float64(0.0))])
    return nodes.add("Concat", [first, second], axis=1), high


def _shares(nodes: Nodes, table: str, trees: Trees) -> "tuple[str, Optional[str]]":
    if trees.outputs == 1:
        ones = nodes.add("Mul", [_sums(nodes, table, trees), nodes.constant(np.float64(0.0))])
        return nodes.add("Add", [ones, nodes.constant(np.float64(1.0))]), None
    if trees.outputs > 2:
        return _scores(nodes, table, trees), None
    # With two classes one sum tells both shares, and a draw is exactly zero whatever the order of adding.
    forest, count = trees.forest, trees.divisor
    lead = _single(nodes, table, trees, (forest.value[:, 1] - forest.value[:, 0]).reshape(-1, 1), 1)
    half, whole = nodes.constant(np.float64(2.0 * count)), nodes.constant(np.float64(count))
    shares = [nodes.add("Div", [nodes.add(each, [whole, lead]), half]) for each in ("Sub", "Add")]
    high = nodes.add("Greater", [lead, nodes.constant(np.float64(0.0))])
    return nodes.add("Concat", shares, axis=1), high


def _scores(nodes: Nodes, table: str, trees: Trees) -> str:
    scores = _sums(nodes, table, trees)
    if trees.divisor != 1.0:
        scores = nodes.add("Div", [scores, nodes.constant(np.float64(trees.divisor))])
    return (
        nodes.add("Add", [scores, nodes.constant(trees.base.reshape(1, -1))]) if trees.base.any() else scores
    )


def _sums(nodes: Nodes, table: str, trees: Trees) -> str:
    if trees.forest.value.shape[1] == 1:
        return _single(nodes, table, trees, trees.forest.value, trees.outputs)
    return _several(nodes, table, trees)


def _single(nodes: Nodes, table: str, trees: Trees, value: Numbers, outputs: int) -> str:
    """Leaves of one number each: operator set 5 computes them in double precision throughout."""
    forest = _grown(trees.forest, value)
    inner = forest.left >= 0
    place = np.where(inner, np.cumsum(inner) - 1, np.cumsum(~inner) - 1)
    left, right = forest.left[inner], forest.right[inner]
    ends = np.append(forest.root, len(forest.feature))
    of_tree = np.repeat(np.arange(len(forest.root)), np.diff(ends))
    nodes.learned_opset = 5
    return nodes.add(
        "TreeEnsemble",
        [table],
        domain=LEARNED,
        aggregate_function=1,
        post_transform=0,
        n_targets=outputs,
        nodes_featureids=forest.feature[inner],
        nodes_splits=forest.threshold[inner],
        nodes_modes=np.full(int(inner.sum()), 1 if trees.strict else 0, dtype=np.uint8),
        nodes_truenodeids=place[left],
        nodes_trueleafs=(~inner[left]).astype(np.int64),
        nodes_falsenodeids=place[right],
        nodes_falseleafs=(~inner[right]).astype(np.int64),
        nodes_missing_value_tracks_true=forest.missing_left[inner].astype(np.int64),
        leaf_targetids=forest.target[of_tree][~inner],
        leaf_weights=forest.value[~inner, 0],
        tree_roots=place[forest.root],
    )


def _grown(forest: Forest, value: Numbers) -> Forest:
    """The forest with these leaves; a tree that is but a leaf gets a split with that leaf on both sides."""
    bare = forest.left[forest.root] < 0
    if not bare.any():
        return replace(forest, value=value)
    ends = [*forest.root, len(forest.feature)]
    parts = [
        _stump(value[ends[at]]) if is_bare else _cut(forest, value, ends[at], ends[at + 1])
        for at, is_bare in enumerate(bare)
    ]
    return joined(parts, forest.target)


def _cut(forest: Forest, value: Numbers, start: int, end: int) -> Forest:
    """One tree of a forest, with these leaves."""
    left, right = forest.left[start:end], forest.right[start:end]
    return Forest(
        feature=forest.feature[start:end],
        threshold=forest.threshold[start:end],
        left=np.where(left < 0, -1, left - start),
        right=np.where(right < 0, -1, right - start),
        missing_left=forest.missing_left[start:end],
        value=value[start:end],
        root=np.zeros(1, dtype=np.int64),
        target=np.zeros(1, dtype=np.int64),
    )


def _stump(leaf: Numbers) -> Forest:
    return Forest(
        feature=np.zeros(2, dtype=np.int64),
        threshold=np.zeros(2),
        left=np.asarray([1, -1]),
        right=np.asarray([1, -1]),
        missing_left=np.zeros(2, dtype=bool),
        value=np.stack([leaf, leaf]),
        root=np.zeros(1, dtype=np.int64),
        target=np.zeros(1, dtype=np.int64),
    )


def _several(nodes: Nodes, table: str, trees: Trees) -> str:
    """Leaves of several numbers: thresholds in double precision, sums that come out in single precision."""
    forest = trees.forest
    ends = np.append(forest.root, len(forest.feature))
    tree = np.repeat(np.arange(len(forest.root)), np.diff(ends))
    number = np.arange(len(forest.feature)) - forest.root[tree]
    leaf = forest.left < 0
    rows, columns = np.nonzero(np.where(leaf[:, None], forest.value, 0.0))
    sums = nodes.add(
        "TreeEnsembleRegressor",
        [table],
        domain=LEARNED,
        aggregate_function="SUM",
        post_transform="NONE",
        n_targets=forest.value.shape[1],
        nodes_treeids=tree,
        nodes_nodeids=number,
        nodes_featureids=forest.feature,
        nodes_values_as_tensor=forest.threshold,
        nodes_modes=[b"LEAF" if each else (b"BRANCH_LT" if trees.strict else b"BRANCH_LEQ") for each in leaf],
        nodes_truenodeids=np.where(leaf, 0, forest.left - forest.root[tree]),
        nodes_falsenodeids=np.where(leaf, 0, forest.right - forest.root[tree]),
        nodes_missing_value_tracks_true=forest.missing_left.astype(np.int64),
        target_treeids=tree[rows],
        target_nodeids=number[rows],
        target_ids=columns,
        target_weights_as_tensor=forest.value[rows, columns],
    )
    return nodes.cast(sums, "FP64")
