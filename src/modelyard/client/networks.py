"""Neural networks of PyTorch and Keras as files: exported whole, so that no source code travels along."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.client.later import Later
from modelyard.domain.errors import FieldError, Invalid

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")

_BACKENDS = {"tensorflow": ("tensorflow", "tensorflow-cpu"), "torch": ("torch",), "jax": ("jax",)}
_GIVEN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Written:
    """A network's file, one example row by input name, and the distributions that compute it."""

    path: Path
    sample: dict[str, list[Any]] | None
    packages: tuple[str, ...]


def write(model: Any, directory: Path, example: Any) -> Written | None:
    """Write a network below `directory`; None when the object is not one of PyTorch's or Keras's.

    `example` holds rows: an array, a tensor, or input name to such. A plain `torch.nn.Module` is traced with
    it. Raises Invalid when it is missing, or when the module cannot be exported.
    """
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__}
    if ("torch", "ScriptModule") in kinds:
        path = directory / "model.pt"
        model.save(str(path))
        names = [each.name for each in model.forward.schema.arguments[1:] if not each.has_default_value()]
        return Written(path, _sample(names, example), _installed("torch"))
    if ("torch", "ExportedProgram") in kinds:
        path = directory / "model.pt2"
        importlib.import_module("torch.export").save(model, path)
        return Written(path, _sample(list(model.graph_signature.user_inputs), example), _installed("torch"))
    if ("torch", "Module") in kinds:
        return _exported(model, directory, example)
    if ("keras", "Model") in kinds:
        return _keras(model, directory, example)
    return None


def _exported(model: Any, directory: Path, example: Any) -> Written:
    torch = importlib.import_module("torch")
    if example is None:
        raise _invalid(
            "x_test",
            "a PyTorch module is exported by running it once; give example rows as x_test, "
            "or publish the path of a TorchScript or torch.export file",
        )
    copied = copy.deepcopy(model).to("cpu").eval()
    names = [
        each.name
        for each in inspect.signature(copied.forward).parameters.values()
        if each.default is each.empty and each.kind in _GIVEN
    ]
    rows = {name: _row(torch, value, copied) for name, value in _by_name(names, example).items()}
    # Two rows, because exporting takes a size of one for a constant.
    twice = tuple(torch.cat([rows[name], rows[name]]) for name in names)
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad():
            program = torch.export.export(
                copied, twice, dynamic_shapes={name: {0: batch} for name in names}, strict=False
            )
    except Exception as error:
        why = str(error).strip().partition("\n")[0][:300]
        raise _invalid(
            "model",
            f"torch.export cannot export it ({type(error).__name__}: {why}); give x_test the shape that "
            "forward takes, or publish the path of torch.jit.script(model), or a state_dict with a model.py",
        ) from error
    path = directory / "model.pt2"
    torch.export.save(program, path)
    return Written(path, {name: row.tolist() for name, row in rows.items()}, _installed("torch"))


def _row(torch: Any, value: Any, model: Any) -> Any:
    """The first row as a tensor; floating-point numbers as the module's own."""
    tensor = value.detach().cpu() if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))
    if tensor.ndim == 0:
        raise _invalid("x_test", "has no rows; give an array whose first dimension is the batch")
    own = next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)
    return tensor[:1].to(own) if tensor.is_floating_point() else tensor[:1]


def _keras(model: Any, directory: Path, example: Any) -> Written:
    path = directory / "model.keras"
    model.save(str(path))
    names = [str(each.name).partition(":")[0] for each in getattr(model, "inputs", None) or ()] or ["input"]
    backend = str(importlib.import_module("keras").backend.backend())
    return Written(path, _sample(names, example), _installed("keras", *_BACKENDS.get(backend, ())))


def _sample(names: list[str], example: Any) -> dict[str, list[Any]] | None:
    if example is None:
        return None
    return {name: np.asarray(value)[:1].tolist() for name, value in _by_name(names, example).items()}


def _by_name(names: list[str], example: Any) -> dict[str, Any]:
    if isinstance(example, Mapping):
        if set(example) != set(names):
            raise _invalid(
                "x_test", f"has {', '.join(map(str, example))}; the model takes {', '.join(names)}"
            )
        return {name: example[name] for name in names}
    if len(names) != 1:
        raise _invalid(
            "x_test", f"the model takes {', '.join(names) or 'nothing'}; give a dict of name to rows"
        )
    return {names[0]: example}


def _installed(*names: str) -> tuple[str, ...]:
    """Pinned distributions, without the build tag of PyTorch's own index."""
    found = []
    for name in names:
        try:
            found.append(f"{name}=={importlib.metadata.version(name).partition('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _invalid(path: str, message: str) -> Invalid:
    return Invalid(f"{path} {message}" if path == "x_test" else message, errors=[FieldError(path, message)])
