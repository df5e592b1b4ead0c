"""Example rows: made up for models that came without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

import numpy as np

from modelyard_worker.arrays import DTYPES, nested

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Loaded

LARGEST = 1 << 24
"""Elements of a made-up tensor; a bigger one would cost more than it proves."""


def made_up(loaded: Loaded) -> Optional[Dict[str, Any]]:
    """One row that fits the inputs: what the model has seen where it says so, else zeros; None when unknown.

    Variable dimensions after the batch count as one.
    """
    row: Dict[str, Any] = {}
    examples = loaded.info.get("examples") or {}
    for spec in loaded.signature["inputs"]:
        shape = [max(size, 1) for size in spec["shape"]]
        name = spec["name"]
        if int(np.prod(shape, dtype=np.int64)) > LARGEST or (
            spec["datatype"] == "BYTES" and name not in examples
        ):
            return None
        if name in examples:
            row[name] = nested(np.full(shape, examples[name], dtype=object))
        else:
            row[name] = nested(np.zeros(shape, dtype=DTYPES[spec["datatype"]]))
    return row or None


def first_row(tensors: Arrays) -> Arrays:
    """A batch of one: the first row of every tensor that has several."""
    return {name: array[:1] if array.ndim and len(array) > 1 else array for name, array in tensors.items()}


def certain(signature: Mapping[str, Any]) -> bool:
    """Whether a made-up row must be predictable: one table of numbers is, others may be out of range."""
    inputs = signature["inputs"]
    return len(inputs) == 1 and len(inputs[0]["shape"]) == 2 and bool(inputs[0]["columns"])
