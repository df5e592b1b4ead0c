"""What flows between the models of a pipeline: joined by name, compared by datatype and shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

from modelyard_worker import signatures
from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.signatures import Spec

REQUEST = "request."
"""What the names of the client's tensors begin with."""

Links = Dict[str, str]
Known = Mapping[str, Sequence[Any]]


def links(step: Mapping[str, Any], inputs: "Sequence[Spec]", known: Known) -> Links:
    """Input to source of one step; `known` has the output specs of those before it.

    Without words of the publisher a step takes what has the names of its inputs from the step in front of it,
    the first from the request; where both sides have one tensor, names do not matter. Raises
    Failure(SignatureMismatch) naming the step for what is missing, unknown, or of another kind or shape.
    """
    name, after, said = str(step["name"]), str(step.get("after") or ""), dict(step.get("inputs") or {})
    if not said:
        said = _by_name(name, inputs, after, known)
    names = [each["name"] for each in inputs]
    unknown = [each for each in said if names and each not in names]
    if unknown:
        raise _refused(name, f"the model has no input {unknown[0]}; it takes {', '.join(names)}")
    missing = [each for each in names if each not in said]
    if missing:
        raise _refused(name, f"nothing flows into its input {missing[0]}; name a source in `inputs`")
    for spec in inputs:
        _compare(name, spec, said[spec["name"]], known)
    return said


def request_specs(steps: "Sequence[Tuple[str, Sequence[Spec], Links]]") -> "List[Spec]":
    """The specs of what a client sends: those of the inputs that take it.

    Raises Failure(SignatureMismatch) when two of them want one tensor differently.
    """
    found: Dict[str, Tuple[str, Spec]] = {}
    for step, inputs, sources in steps:
        for spec in inputs:
            source = sources.get(spec["name"], "")
            if not source.startswith(REQUEST):
                continue
            wanted = {**spec, "name": source[len(REQUEST) :]}
            other, known = found.setdefault(wanted["name"], (step, wanted))
            failure = signatures.contradiction("", known, wanted)
            if failure is not None:
                raise _refused(
                    step,
                    f"it takes {source} as {_shown(wanted)}, and step {other} takes it as {_shown(known)}",
                )
    return [spec for _, spec in found.values()]


def answers(said: Mapping[str, str], known: Known, last: str) -> Links:
    """Output of the whole to source; empty when the last step answers what cannot be known before.

    Raises Failure(SignatureMismatch) naming the step that has no such output.
    """
    if not said:
        return {str(each["name"]): f"{last}.{each['name']}" for each in known[last]}
    for source in said.values():
        step, _, output = source.partition(".")
        _spec(step, output, known, taker="the pipeline's outputs")
    return dict(said)


def answer_specs(sources: Links, known: Known) -> "List[Spec]":
    """The output specs of the whole, as far as they are known; else none."""
    specs = []
    for name, source in sources.items():
        step, _, output = source.partition(".")
        found = _spec(step, output, known, taker="the pipeline's outputs")
        if found is None:
            return []
        specs.append({**found, "name": name})
    return specs


def _by_name(step: str, inputs: "Sequence[Spec]", after: str, known: Known) -> Links:
    names = [str(each["name"]) for each in inputs]
    if not after:
        return {name: f"{REQUEST}{name}" for name in names}
    given = [str(each["name"]) for each in known[after]]
    if not given:
        return {name: f"{after}.{name}" for name in names}
    if not names:
        return {name: f"{after}.{name}" for name in given}
    if set(names) <= set(given):
        return {name: f"{after}.{name}" for name in names}
    if len(names) == len(given) == 1:
        return {names[0]: f"{after}.{given[0]}"}
    raise _refused(
        step,
        f"it takes {', '.join(names)}, and step {after} answers {', '.join(given)}: say in `inputs` what "
        "flows where",
    )


def _compare(step: str, wanted: Any, source: str, known: Known) -> None:
    if source.startswith(REQUEST):
        return
    origin, _, output = source.partition(".")
    given = _spec(origin, output, known, taker=f"step {step}")
    if given is None:
        return
    whole = wanted["datatype"].startswith("FP") and "INT" in given["datatype"]
    real = {**given, "datatype": wanted["datatype"]} if whole else given
    if signatures.contradiction("", wanted, real) is not None:
        raise _refused(
            step, f"its input {wanted['name']} takes {_shown(wanted)}, and {source} is {_shown(given)}"
        )


def _spec(step: str, output: str, known: Known, *, taker: str) -> "Optional[Spec]":
    specs = known[step]
    found: Optional[Spec] = next((each for each in specs if each["name"] == output), None)
    if found is None and specs:
        names = ", ".join(str(each["name"]) for each in specs)
        message = f"step {step} has no output {output}, which {taker} takes; it has {names}"
        raise Failure("SignatureMismatch", f"pipeline: {message}")
    return found


def _shown(spec: "Spec") -> str:
    return f"{spec['datatype']}{list(spec['shape'])}"


def _refused(step: str, message: str) -> Failure:
    return Failure("SignatureMismatch", f"pipeline: step {step}: {message}")
