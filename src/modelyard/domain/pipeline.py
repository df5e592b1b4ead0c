"""Pipelines: which models of a version answer one after the other, and what flows between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.model import Artifact, Pipeline, Step

REQUEST = "request"
"""The source that stands for what the client sends."""
NAME = "pipeline"
"""The artifact that answers as the whole."""
_STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_MOST_STEPS = 50


def models(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The models that a document's steps name, each once. Raises Invalid naming the step."""
    return tuple(dict.fromkeys(model for _, _, model in _steps(document)))


def parse(
    document: Mapping[str, Any], artifacts: Mapping[str, Artifact], folders: Mapping[str, str]
) -> Pipeline:
    """The pipeline that a document describes, its steps in an order in which each can be answered.

    `artifacts` are the version's by name, `folders` where each lies. Raises Invalid naming the step for an
    unknown model or step, a cycle, and whatever has not the form it should have.
    """
    _only(document, ("steps", "outputs"), NAME)
    steps: dict[str, Step] = {}
    for path, name, model in _steps(document):
        if model not in artifacts:
            _refuse(
                path,
                name,
                f"there is no model `{model[:70]}`; the version has {', '.join(sorted(artifacts))}",
            )
        if name in steps or name == REQUEST:
            _refuse(path, name, "another step has that name, or it is kept; give it one of its own")
        said = _item(document, path)
        _only(said, ("name", "model", "inputs"), path)
        steps[name] = Step(
            name=name,
            artifact=artifacts[model],
            folder=folders[model],
            inputs=_texts(said.get("inputs"), path, "inputs"),
            after=next(reversed(steps), ""),
        )
    _check_sources(steps)
    outputs = _texts(document.get("outputs"), NAME, "outputs")
    for output, source in outputs.items():
        if not source.partition(".")[2] or source.partition(".")[0] not in steps:
            _refuse(
                f"{NAME}.outputs.{output[:60]}", "", f"`{source[:100]}` is no STEP.OUTPUT; {_known(steps)}"
            )
    return Pipeline(steps=_ordered(steps), outputs=outputs)


def sources(step: Step) -> tuple[str, ...]:
    """The steps that a step takes from."""
    if not step.inputs:
        return (step.after,) if step.after else ()
    named = (source.partition(".")[0] for source in step.inputs.values())
    return tuple(name for name in dict.fromkeys(named) if name != REQUEST)


def _steps(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Path, name and model of every step."""
    items = document.get("steps")
    if not isinstance(items, list) or not 0 < len(items) <= _MOST_STEPS:
        _refuse(f"{NAME}.steps", "", f"expected a list of 1 to {_MOST_STEPS} steps, each with a `model`")
    for index, item in enumerate(items):
        path = f"{NAME}.steps[{index}]"
        model = item.get("model") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(model, str) or not model:
            _refuse(path, "", "expected an object that names a `model` of the version")
        name = item.get("name", model)
        if not isinstance(name, str) or not _STEP.fullmatch(name):
            _refuse(path, "", "`name` must be a word of letters, digits, `-` and `_`")
        yield path, name, model


def _item(document: Mapping[str, Any], path: str) -> dict[str, Any]:
    item: dict[str, Any] = document["steps"][int(path.rpartition("[")[2].rstrip("]"))]
    return item


def _check_sources(steps: Mapping[str, Step]) -> None:
    for index, step in enumerate(steps.values()):
        for target, source in step.inputs.items():
            origin, _, tensor = source.partition(".")
            if not tensor or (origin != REQUEST and origin not in steps):
                path = f"{NAME}.steps[{index}].inputs.{target[:60]}"
                _refuse(
                    path,
                    step.name,
                    f"`{source[:100]}` is neither request.INPUT nor STEP.OUTPUT; {_known(steps)}",
                )


def _ordered(steps: Mapping[str, Step]) -> tuple[Step, ...]:
    """As written where that is possible, each behind all that it takes from. Raises Invalid for a cycle."""
    names = list(steps)
    needs = {name: set(sources(step)) for name, step in steps.items()}
    ordered: list[str] = []
    while len(ordered) < len(names):
        free = next((name for name in names if name not in ordered and needs[name] <= set(ordered)), None)
        if free is None:
            left = [name for name in names if name not in ordered]
            _refuse(
                f"{NAME}.steps",
                left[0],
                f"the steps {', '.join(left)} wait for one another: there is a cycle",
            )
        ordered.append(free)
    return tuple(steps[name] for name in ordered)


def _texts(value: object, path: str, name: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(k, str) and isinstance(v, str) for k, v in value.items()
    ):
        _refuse(f"{path}.{name}", "", "expected an object of name to source, such as `input: scale.output`")
    return dict(value)


def _only(document: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    odd = [str(key) for key in document if key not in known]
    if odd:
        _refuse(path, "", f"`{odd[0][:60]}` is not known here; there are {', '.join(known)}")


def _known(steps: Mapping[str, Step]) -> str:
    return f"the steps are {', '.join(steps)}"


def _refuse(path: str, step: str, message: str) -> NoReturn:
    text = f"step {step}: {message}" if step else message
    raise Invalid(f"{path}: {text}", errors=[FieldError(path, text)])
