"""The arrays that trees consist of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

if TYPE_CHECKING:
    from modelyard_worker.loaded import Numbers


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees, one after another; children are positions in these arrays, -1 in a leaf."""

    feature: Numbers
    threshold: Numbers
    """FP64, also where the library keeps single precision."""
    left: Numbers
    """Where a row goes whose value is below the threshold (or equal to it)."""
    right: Numbers
    missing_left: Numbers
    """Whether NaN goes left."""
    value: Numbers
    """[nodes, columns]: what a leaf adds."""
    root: Numbers
    """Position of each tree's first node."""
    target: Numbers
    """The output that each tree adds to, when its leaves have one column."""


@dataclass(frozen=True)
class Trees:
    """Trees and what their sum means."""

    forest: Forest
    strict: bool
    """Left is `<` and not `<=`."""
    single: bool
    """Inputs are rounded to single precision before they are compared."""
    outputs: int
    base: Numbers
    """What the sums begin with, one for each output."""
    divisor: float
    """What the sums of leaves are divided by."""
    post: str
    """identity, exponential, sigmoid, sigmoids, softmax, or shares: probabilities already."""
    slope: float = 1.0
    """What a sigmoid's argument is multiplied with."""
    zero: float = 0.0
    """Values as near to zero as this are taken as zero."""
    tie_high: bool = False
    """Of two equally probable classes the second is the answer."""


def joined(parts: Sequence[Forest], targets: Any = None) -> Forest:
    """Several forests as one; `targets` says which output each adds to."""
    sizes = [len(part.feature) for part in parts]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    count = len(parts)
    return Forest(
        feature=np.concatenate([part.feature for part in parts]),
        threshold=np.concatenate([part.threshold for part in parts]),
        left=np.concatenate([np.where(p.left < 0, -1, p.left + s) for p, s in zip(parts, starts)]),
        right=np.concatenate([np.where(p.right < 0, -1, p.right + s) for p, s in zip(parts, starts)]),
        missing_left=np.concatenate([part.missing_left for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        root=starts,
        target=np.zeros(count, dtype=np.int64) if targets is None else np.asarray(targets, dtype=np.int64),
    )
