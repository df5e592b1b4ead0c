"""What the loaders of neural networks share: which inputs a network takes, and its answers as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from modelyard_worker import outputs, requests, signatures
from modelyard_worker.arrays import DTYPES, native, normal
from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

SHORT = ("bfloat16", "float8")
"""Element types of networks that the protocol does not have; FP32 holds them."""

Given = Dict[str, Any]
Trial = Callable[[Any], Any]


def inputs_of(
    given: Given, own: Optional[Sequence[Spec]], names: Sequence[str], tried: Trial
) -> Tuple[List[Spec], Given]:
    """The input specs, and what the publisher said with its sample under the network's own names.

    `own` is what the file declares, None when it does not; then the publisher's signature or sample tells.
    Declared names that the network does not use stand for its inputs in order. `tried` computes an answer
    from arrays by name. Raises Failure(SignatureMismatch) that names the field or says how to publish.
    """
    if given.get("inputs"):
        said = _as_named(_under_own(given["inputs"], names), names)
        specs = said if own is None else signatures.agree(said, own, "inputs")
        if {each["name"] for each in given["inputs"]} == set(names):
            return specs, given
        return [{**spec, "name": each["name"]} for spec, each in zip(specs, given["inputs"])], given
    if own is not None:
        return list(own), given
    if given.get("sample") is None:
        shown = ", ".join(f'"{name}": [[…]]' for name in names)
        raise Failure(
            "SignatureMismatch",
            "the file does not say the shapes of its inputs: publish it with an example row, "
            f"`--sample sample.json` that holds {{{shown}}}, or with a signature",
        )
    tensors = _under_own_names(requests.rows(given["sample"], ()), names)
    tensors = _accepted(tensors, tried)
    sample = {name: array.tolist() for name, array in tensors.items()}
    return [signatures.spec_of(name, array) for name, array in tensors.items()], {**given, "sample": sample}


def outputs_of(declared: Sequence[Spec]) -> "Tuple[List[Spec], Callable[[Any], Any]]":
    """The output specs, and a function that brings answers to them.

    Declared names that the network does not use stand for its outputs in order.
    """
    specs, cast = outputs.declared(declared, ())
    names = [str(each["name"]) for each in declared]

    def adapt(answer: Arrays) -> Any:
        if names and len(names) <= len(answer) and not any(name in answer for name in names):
            answer = dict(zip(names, answer.values()))
        return cast(answer)

    return specs, adapt


def answers(value: Any, plain: Callable[[Any], Any]) -> Arrays:
    """Whatever a network returned as arrays by name; `plain` turns one tensor into an array.

    One tensor is `output`, several are `output_0`, `output_1`, …; dicts and named tuples keep their names.
    """
    if isinstance(value, Mapping):
        named: Dict[str, Any] = {str(name): each for name, each in value.items()}
    elif isinstance(value, (tuple, list)):
        fields = getattr(value, "_fields", None) or [f"output_{index}" for index in range(len(value))]
        named = dict(zip(fields, value))
    else:
        named = {"output": value}
    return {name: array(plain(each), name) for name, each in named.items() if each is not None}


def array(value: Any, name: str) -> Array:
    """One answer as an array that can travel. Raises Failure(PredictionFailed)."""
    found = np.asarray(value)
    if found.dtype.name.startswith(SHORT):
        found = found.astype(np.float32)
    return native(found) if found.dtype.kind in "biuf" and found.ndim else normal(found, name)


def fed(tensors: Arrays, inputs: Sequence[Spec], names: Sequence[str]) -> Arrays:
    """A request's arrays under the network's names, in the types that it takes.

    Raises Failure(SignatureMismatch).
    """
    signatures.check(inputs, tensors)
    given = [str(each["name"]) for each in inputs]
    own = given if set(given) == set(names) else names
    found = {}
    for name, each in zip(own, inputs):
        array, dtype = tensors[each["name"]], DTYPES[each["datatype"]]
        found[name] = array if array.dtype == dtype else array.astype(dtype)
    return found


def _under_own(said: Sequence[Spec], names: Sequence[str]) -> List[Spec]:
    if len(said) != len(names) or any(each["name"] in names for each in said):
        return list(said)
    return [{**each, "name": name} for each, name in zip(said, names)]


def _as_named(said: Sequence[Spec], names: Sequence[str]) -> List[Spec]:
    for index, each in enumerate(said):
        if each["name"] not in names:
            raise Failure(
                "SignatureMismatch",
                f"signature.inputs[{index}].name: the network takes no {each['name']}; "
                f"it takes {', '.join(names)}",
            )
    known = {each["name"]: each for each in said}
    for name in names:
        if name not in known:
            raise Failure("SignatureMismatch", f"signature.inputs: the network also takes {name}; add it")
    return [known[name] for name in names]


def _under_own_names(tensors: Arrays, names: Sequence[str]) -> Arrays:
    if len(tensors) == len(names) == 1:
        return {names[0]: next(iter(tensors.values()))}
    if set(tensors) != set(names):
        raise Failure(
            "SignatureMismatch", f"sample: expected {', '.join(names)}, got {', '.join(sorted(tensors))}"
        )
    return {name: tensors[name] for name in names}


def _accepted(tensors: Arrays, tried: Trial) -> Arrays:
    """The sample in the types that the network computes with: whole numbers may be meant as either kind."""
    single = {
        name: each.astype(np.float32) if each.dtype == np.float64 else each for name, each in tensors.items()
    }
    floats = {
        name: each.astype(np.float32) if each.dtype.kind == "i" else each for name, each in single.items()
    }
    if all(each.dtype.kind == "f" for each in single.values()):
        return single
    try:
        tried(single)
    except Exception as error:  # noqa: BLE001 - a network raises anything; it is tried in the other type, or raised
        try:
            tried(floats)
        except Exception:  # noqa: BLE001 - the second attempt was a guess of ours: the first error is the one to tell
            raise error from None
        return floats
    return single
