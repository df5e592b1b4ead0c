"""Loads models that are Python code: a class `Model`, or functions `load` and `predict`."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import platform
import sys
from types import ModuleType
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from modelyard_worker import outputs, requests, signatures
from modelyard_worker.arrays import normal
from modelyard_worker.config import entry_path, published
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Aside, Loaded
from modelyard_worker.steps import Loop, Steps

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

MOST_ASIDE = 16
"""Requests that async code has at a time, unless it says fewer; there are as many pieces of shared memory."""
REMEDY = "write a class Model with predict(self, inputs), or a function predict(inputs)"


def load(config: Mapping[str, Any]) -> Loaded:
    """Import the model's code, build the model and find its steps.

    The steps are preprocess, predict and postprocess; each may be sync or async. `predict` takes a dict of
    arrays and returns a dict, array, list or DataFrame, or yields such as the parts of a streamed answer. A
    model with `batchable = False` gets the rows of one request at a time; async code gets several requests
    side by side, as many as `concurrency` says.
    """
    path = entry_path(config)
    if os.path.isdir(path):
        path = os.path.join(path, "model.py")
    module = imported(path)
    given = published(config)
    steps = _steps(module, os.path.dirname(path))
    inputs = list(given.get("inputs") or _sampled(given))
    declared = list(given.get("outputs") or ())
    specs, adapt = outputs.declared(declared, ())
    answers = _Answers(steps, inputs, [str(each["name"]) for each in declared], adapt)
    owner = getattr(steps.predict, "__self__", None)
    kind = type(owner).__name__
    depth, batchable = _company(steps, module if owner is None else owner)
    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device="CPU",
        info={
            "framework_version": platform.python_version(),
            "algorithm": "Python class" if kind == "Model" else "Python function",
            "function": config.get("function") or "unknown",
        },
        predict=answers.predict,
        stream=answers.stream if steps.streams else None,
        batchable=batchable,
        aside=None
        if depth == 1
        else Aside(depth, lambda: steps.loop, answers.predict_aside, answers.parts_aside),
    )


class _Answers:
    """What requests are answered with: the steps between checked inputs and named outputs."""

    def __init__(self, steps: Steps, inputs: List[Spec], names: List[str], adapt: Any) -> None:
        self._steps = steps
        self._inputs = inputs
        self._names = names
        self._adapt = adapt

    def predict(self, tensors: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        """The whole answer."""
        if self._steps.streams:
            return joined(list(self.stream(tensors, parameters)))
        signatures.check(self._inputs, tensors)
        return self._named(self._steps.whole(tensors))

    def stream(self, tensors: Arrays, _: Mapping[str, Any]) -> Iterator[Arrays]:
        """The answer in parts."""
        signatures.check(self._inputs, tensors)
        for part in self._steps.parts(tensors):
            yield self._named(part)

    async def predict_aside(self, tensors: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        """The whole answer, beside others."""
        if self._steps.streams:
            return joined([part async for part in self.parts_aside(tensors, parameters)])
        signatures.check(self._inputs, tensors)
        return self._named(await self._steps.whole_aside(tensors))

    async def parts_aside(self, tensors: Arrays, _: Mapping[str, Any]) -> AsyncIterator[Arrays]:
        """The answer in parts, beside others."""
        signatures.check(self._inputs, tensors)
        async for part in self._steps.parts_aside(tensors):
            yield self._named(part)

    def _named(self, value: Any) -> Arrays:
        answer: Arrays = self._adapt(named(value, self._names))
        return answer


def _company(steps: Steps, owner: Any) -> Tuple[int, Optional[bool]]:
    """How many requests the code takes side by side, and whether rows of several may share a call.

    What waits beside others gains nothing by sharing a call with them, unless its author says so.
    """
    depth = _depth(owner) if steps.is_async else 1
    said = getattr(owner, "batchable", None if depth > 1 else True)
    return depth, False if steps.streams else None if said is None else bool(said)


def _depth(owner: Any) -> int:
    """How many requests async code takes at a time, as its attribute `concurrency` says."""
    depth = getattr(owner, "concurrency", MOST_ASIDE)
    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= MOST_ASIDE:
        raise Failure(
            "ModelLoadFailed", f"concurrency = {depth!r}: expected a whole number from 1 to {MOST_ASIDE}"
        )
    return depth


def joined(parts: "list[Arrays]") -> Arrays:
    """The parts of a streamed answer for a client that wants it whole: one below the other.

    Raises Failure(PredictionFailed) for parts that do not fit together, or none.
    """
    if not parts:
        raise Failure("PredictionFailed", "predict yielded nothing")
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except (KeyError, ValueError) as error:
        raise Failure(
            "PredictionFailed",
            f"the parts that predict yielded do not fit together: {error}; ask for a stream",
        ) from error


def named(value: Any, names: Sequence[str]) -> Dict[str, Any]:
    """Whatever a predict function returned, as arrays by output name.

    Raises Failure(UserCodeFailed) for None, Failure(PredictionFailed) for what cannot travel.
    """
    if value is None:
        raise Failure(
            "UserCodeFailed",
            "predict returned None: return a dict of arrays, an array, a list or a DataFrame",
        )
    if isinstance(value, dict):
        return {str(name): normal(each, str(name)) for name, each in value.items()}
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return {str(name): normal(value[name].to_numpy(), str(name)) for name in value.columns}
    if isinstance(value, tuple) and len(value) == len(names) > 1:
        return {name: normal(each, name) for name, each in zip(names, value)}
    if isinstance(value, (list, tuple)) and value and all(isinstance(row, dict) for row in value):
        return {str(name): normal([row.get(name) for row in value], str(name)) for name in value[0]}
    name = names[0] if names else "output"
    return {name: normal(value.to_numpy() if hasattr(value, "to_numpy") else value, name)}


class _Uncached(importlib.machinery.SourceFileLoader):
    """Imports a model's source without writing bytecode beside it: the directory belongs to the store."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Drop the bytecode."""


def imported(path: str) -> ModuleType:
    """Import a model's source file, its directory first on the path; no bytecode is written beside it."""
    directory, name = os.path.dirname(path), os.path.splitext(os.path.basename(path))[0]
    if directory in sys.path:
        sys.path.remove(directory)
    sys.path.insert(0, directory)
    sys.path_hooks.insert(0, _hook(directory))
    if name in sys.modules:
        name = f"model_{name}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Uncached(name, path))
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise Failure("ModelLoadFailed", f"there is no {os.path.basename(path)}: {REMEDY}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _hook(directory: str) -> Callable[[str], Any]:
    extensions = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    sources = (_Uncached, importlib.machinery.SOURCE_SUFFIXES)

    def hook(path: str) -> Any:
        if path != directory and not path.startswith(directory + os.sep):
            raise ImportError("not a directory of the model")
        return importlib.machinery.FileFinder(path, extensions, sources)

    return hook


def _steps(module: ModuleType, directory: str) -> Steps:
    # One loop for everything: what `load` opened belongs to the loop that it was opened on.
    loop = Loop()
    kind = getattr(module, "Model", None)
    if isinstance(kind, type):
        model = kind(directory) if _arity(kind) else kind()
        start = getattr(model, "load", None)
        if callable(start):
            loop.settled(start(directory) if _arity(start) else start())
        return _found(loop, model, getattr(model, "predict", None))
    predict = getattr(module, "predict", None)
    start = getattr(module, "load", None)
    if callable(predict) and callable(start):
        model = loop.settled(start(directory) if _arity(start) else start())
        if _arity(predict) >= 2:
            function = predict
            return _found(loop, module, functools.partial(function, model))
    return _found(loop, module, predict)


def _found(loop: Loop, owner: Any, predict: Optional[Callable[[Any], Any]]) -> Steps:
    if not callable(predict):
        raise Failure("ModelLoadFailed", f"the code has no predict: {REMEDY}")
    before, after = getattr(owner, "preprocess", None), getattr(owner, "postprocess", None)
    return Steps(before if callable(before) else None, predict, after if callable(after) else None, loop)


def _arity(function: Callable[..., Any]) -> int:
    """How many positional arguments a call must give."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is inspect.Parameter.empty for each in parameters)


def _sampled(given: Mapping[str, Any]) -> "list[Spec]":
    if given.get("sample") is None:
        return []
    found = requests.rows(given["sample"], ())
    return [signatures.spec_of(name, np.asarray(array)) for name, array in found.items()]
