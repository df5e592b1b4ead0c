"""Example rows: made up for models that came without one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Sequence

import numpy as np

from modelyard_worker import requests
from modelyard_worker.arrays import DTYPES, nested

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays, Loaded
    from modelyard_worker.signatures import Spec

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


def first_row(tensors: Arrays, specs: Sequence[Spec] = ()) -> Arrays:
    """A batch of one: the first row of every tensor that has several, and may have another number of them."""
    fixed = {each["name"] for each in specs if each["shape"] and each["shape"][0] > 1}
    return {
        name: array[:1] if array.ndim and len(array) > 1 and name not in fixed else array
        for name, array in tensors.items()
    }


def warm(predict: Callable[[Any, Any], Any], inputs: Sequence[Spec], sample: Any) -> None:
    """Let the first prediction, which imports and allocates, be ours."""
    if sample is None or not inputs:
        return
    try:
        predict(requests.rows(sample, inputs), {})
    except Exception as error:  # noqa: BLE001 - whoever asks gets the error; here it only means a slower first answer
        print(f"the sample could not be predicted: {error}", file=sys.stderr)


def certain(signature: Mapping[str, Any]) -> bool:
    """Whether a made-up row must be predictable: one table of numbers is, others may be out of range."""
    inputs = signature["inputs"]
    return len(inputs) == 1 and len(inputs[0]["shape"]) == 2 and bool(inputs[0]["columns"])
