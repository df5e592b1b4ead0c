"""Loads several models into this process and answers with one after the other, as one model."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Set

from modelyard_worker import outputs, signatures
from modelyard_worker.arrays import DTYPES
from modelyard_worker.config import prepare, published
from modelyard_worker.explain import explain
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import wiring

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

INNER = "SignatureMismatch"


@dataclass(frozen=True)
class Stage:
    """One loaded model of a pipeline."""

    name: str
    loaded: Loaded
    config: Mapping[str, Any]
    links: Dict[str, str]
    """Input to source: `request.INPUT` or `STEP.OUTPUT`."""
    wanted: Set[str] = field(default_factory=set)
    """Outputs that something takes; empty means all."""

    @property
    def from_request(self) -> bool:
        """Whether nothing but what the client sent goes in."""
        return all(source.startswith(wiring.REQUEST) for source in self.links.values())


def load(config: Mapping[str, Any]) -> Loaded:
    """Load every step's model and join them.

    Raises Failure(SignatureMismatch) naming the step whose inputs do not fit what flows into them.
    """
    stages: Dict[str, Stage] = {}
    for step in config.get("steps") or ():
        loaded = _loaded(step)
        known = {name: stage.loaded.signature["outputs"] for name, stage in stages.items()}
        links = wiring.links(step, loaded.signature["inputs"], known)
        stages[step["name"]] = Stage(step["name"], loaded, step["config"], links)
    given = published(config)
    inputs = wiring.request_specs([(s.name, s.loaded.signature["inputs"], s.links) for s in stages.values()])
    if given.get("inputs"):
        inputs = signatures.agree(given["inputs"], inputs, "inputs") if inputs else list(given["inputs"])
    last = list(stages.values())[-1]
    answers = wiring.answers(config.get("outputs") or {}, _outputs(stages), last.name)
    _note_wanted(stages, answers, last.name)
    specs, adapt = outputs.declared(
        given.get("outputs") or (), wiring.answer_specs(answers, _outputs(stages))
    )

    def predict(tensors: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        signatures.check(inputs, tensors)
        flowing: Dict[str, Array] = {f"{wiring.REQUEST}{name}": array for name, array in tensors.items()}
        for stage in stages.values():
            answer = _answered(stage, flowing, parameters)
            flowing.update({f"{stage.name}.{name}": array for name, array in answer.items()})
        made: Arrays = adapt(_picked(answers, flowing, last.name))
        return made

    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device=_device(list(stages.values())),
        info={
            "framework_version": "",
            "algorithm": " → ".join(str(stage.loaded.info["algorithm"]) for stage in stages.values()),
            "function": last.loaded.info["function"],
            "task": last.loaded.info.get("task", ""),
            "examples": _examples(stages),
        },
        predict=predict,
    )


def _loaded(step: Mapping[str, Any]) -> Loaded:
    config = step["config"]
    try:
        prepare(config)
        loader = importlib.import_module(f"modelyard_worker.loaders.{config['format']}")
        loaded: Loaded = loader.load(config)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - guests raise anything, SystemExit too; it is reported
        raise _in_step(step["name"], explain(error, config, loading=True)) from (error.__cause__ or error)
    return loaded


def _outputs(stages: Mapping[str, Stage]) -> "Dict[str, List[Spec]]":
    return {name: list(stage.loaded.signature["outputs"]) for name, stage in stages.items()}


def _note_wanted(stages: Mapping[str, Stage], answers: Mapping[str, str], last: str) -> None:
    """Let each model compute only what something takes from it."""
    taken = [source for stage in stages.values() for source in stage.links.values()] + list(answers.values())
    for name, stage in stages.items():
        if answers or name != last:
            stage.wanted.update(source[len(name) + 1 :] for source in taken if source.startswith(f"{name}."))


def _answered(stage: Stage, flowing: Mapping[str, Any], parameters: Mapping[str, Any]) -> Arrays:
    given = {key: value for key, value in parameters.items() if key != "requested_outputs"}
    if stage.wanted:
        given["requested_outputs"] = sorted(stage.wanted)
    try:
        return stage.loaded.predict(_inputs(stage, flowing), given)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - guests raise anything, SystemExit too; it is reported
        failure = explain(error, stage.config, loading=False)
        if stage.from_request:
            raise _in_step(stage.name, failure) from (error.__cause__ or error)
        if failure.reason == INNER:
            failure = Failure("PredictionFailed", failure.message)
        raise _in_step(stage.name, failure) from _ours(stage.name, error)


def _ours(name: str, error: BaseException) -> BaseException:
    """The cause of a step's failure, in a form that is not held against the client's values."""
    if isinstance(error, Failure) and error.__cause__ is None:
        return error
    cause = RuntimeError(f"step {name} failed")
    cause.__cause__ = error.__cause__ or error
    return cause


def _inputs(stage: Stage, flowing: Mapping[str, Any]) -> Arrays:
    specs = {each["name"]: each for each in stage.loaded.signature["inputs"]}
    if not stage.links:
        return {
            key[len(wiring.REQUEST) :]: value
            for key, value in flowing.items()
            if key.startswith(wiring.REQUEST)
        }
    found: Dict[str, Array] = {}
    for name, source in stage.links.items():
        if source not in flowing:
            origin, _, output = source.partition(".")
            raise Failure("PredictionFailed", f"step {origin} answered no {output}, which `{name}` takes")
        found[name] = _fed(flowing[source], specs.get(name))
    return found


def _fed(array: Array, spec: Optional[Spec]) -> Array:
    """The array in the element type that the model takes."""
    if spec is None or spec["datatype"] == "BYTES" or array.dtype == DTYPES[spec["datatype"]]:
        return array
    converted: Array = array.astype(DTYPES[spec["datatype"]])
    return converted


def _picked(answers: Mapping[str, str], flowing: Mapping[str, Any], last: str) -> Dict[str, Any]:
    if not answers:
        return _below(f"{last}.", flowing)
    missing = [source for source in answers.values() if source not in flowing]
    if missing:
        origin, _, output = missing[0].partition(".")
        raise Failure("PredictionFailed", f"step {origin} answered no {output}")
    return {name: flowing[source] for name, source in answers.items()}


def _below(prefix: str, flowing: Mapping[str, Any]) -> Dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in flowing.items() if key.startswith(prefix)}


def _in_step(name: str, failure: Failure) -> Failure:
    return Failure(failure.reason, f"step {name}: {failure.message}")


def _device(stages: Sequence[Stage]) -> str:
    devices = [stage.loaded.device for stage in stages]
    return next((each for each in devices if each.endswith("GPU")), devices[0])


def _examples(stages: Mapping[str, Stage]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for stage in stages.values():
        for name, example in (stage.loaded.info.get("examples") or {}).items():
            source = stage.links.get(name, "")
            if source.startswith(wiring.REQUEST):
                found.setdefault(source[len(wiring.REQUEST) :], example)
    return found
