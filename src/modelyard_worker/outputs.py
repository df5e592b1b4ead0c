"""Brings a model's answers to the output names and datatypes that the publisher declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from modelyard_worker import signatures
from modelyard_worker.arrays import DTYPES
from modelyard_worker.failures import Contradiction

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

Adapter = Callable[[Any], Any]


def declared(
    given: Sequence[Spec], real: Sequence[Spec], *, shaped: bool = True
) -> Tuple[List[Spec], Adapter]:
    """The output specs, and a function that renames, picks and casts a prediction's arrays to them.

    Without declared outputs the model's own pass unchanged. Declared names that the model does not use rename
    its outputs in order. Without `shaped` the model cannot tell its shapes before it predicts, and the
    declared ones hold. Raises Failure(SignatureMismatch) naming the field that the model contradicts.
    """
    if not given or not real:
        return list(given or real), _cast({each["name"]: each for each in given})
    names = sources(given, [each["name"] for each in real])
    renamed = [{**each, "name": names[each["name"]]} for each in given]
    agreed = signatures.agree(renamed, real if shaped else _in_shape_of(renamed, real), "outputs")
    specs = [{**spec, "name": each["name"]} for spec, each in zip(agreed, given)]
    if [(each["name"], each["datatype"]) for each in specs] == [
        (each["name"], each["datatype"]) for each in real
    ]:
        return specs, lambda answer: answer
    cast = _cast({each["name"]: each for each in specs})
    return specs, lambda answer: cast(
        {name: answer[source] for name, source in names.items() if source in answer}
    )


def sources(given: Sequence[Spec], own: Sequence[str]) -> Dict[str, str]:
    """Which of the model's own outputs each declared one is: that of its name, else they go in order."""
    names = {each["name"]: each["name"] for each in given}
    if not any(name in own for name in names) and len(given) <= len(own):
        return dict(zip(names, own))
    return names


def cast(array: Array, spec: Mapping[str, Any]) -> Array:
    """The array in the spec's datatype. Raises Contradiction when it holds another kind of element."""
    wanted = DTYPES[spec["datatype"]]
    if array.dtype == wanted:
        return array
    if not array.size:
        return array.astype(wanted)  # of nothing, numpy cannot know the type
    real = signatures.spec_of(spec["name"], array)
    failure = signatures.contradiction(f"outputs.{spec['name']}", {**spec, "shape": real["shape"]}, real)
    if failure is not None:
        raise Contradiction(failure.message)
    return np.ascontiguousarray(array.astype(wanted))


def _in_shape_of(given: Sequence[Spec], real: Sequence[Spec]) -> List[Spec]:
    shapes = {each["name"]: each["shape"] for each in given}
    return [{**each, "shape": shapes.get(each["name"], each["shape"])} for each in real]


def _cast(specs: Dict[str, Spec]) -> Adapter:
    if not specs:
        return lambda answer: answer

    def adapter(answer: Arrays) -> Arrays:
        return {name: cast(array, specs[name]) if name in specs else array for name, array in answer.items()}

    return adapter
