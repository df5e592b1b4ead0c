"""Loads PyTorch models: TorchScript, exported programs, and weights into the module of a model.py."""

from __future__ import annotations

import importlib
import inspect
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

from modelyard_worker import graphs, samples, signatures
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import python

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

HOLDERS = ("state_dict", "model_state_dict", "model", "weights", "params")
"""Keys under which checkpoints keep their weights."""

SHOWN = 5
"""Names of weights that a message lists."""


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode, on its device."""

    call: Callable[[Dict[str, Any]], Any]
    """Computes from tensors by input name."""
    names: List[str]
    """Inputs in order."""
    algorithm: str
    specs: Optional[List[Spec]] = None
    """What the file declares of its inputs; None when it declares nothing."""


def load(config: Mapping[str, Any]) -> Loaded:
    """Open the network on the first GPU that the process sees, else on the CPU.

    Prints `PyTorch device: CPU` or `PyTorch device: cuda:0`. Raises Failure(SignatureMismatch) when neither
    the file nor the publisher says what it takes, or when they contradict one another.
    """
    library = importlib.import_module("torch")
    _bound_threads(library, threads(config))
    device = library.device("cuda:0" if _sees_gpu(library) else "cpu")
    shown = f"PyTorch device: {'CPU' if device.type == 'cpu' else device}"
    print(shown, flush=True)
    network = _OPENERS[str(config.get("serialization"))](library, config, device)

    def compute(arrays: Arrays) -> Arrays:
        with library.inference_mode():
            tensors = {name: _tensor(library, each, device, name) for name, each in arrays.items()}
            return graphs.answers(network.call(tensors), lambda each: _plain(library, each))

    inputs, given = graphs.inputs_of(published(config), network.specs, network.names, compute)
    specs, adapt = graphs.outputs_of(given.get("outputs") or ())

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        answer: Arrays = adapt(compute(graphs.fed(tensors, inputs, network.names)))
        return answer

    samples.warm(predict, inputs, given.get("sample"))
    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device=shown,
        info={
            "framework_version": str(library.__version__).partition("+")[0],
            "algorithm": network.algorithm,
            "function": config.get("function") or "unknown",
        },
        predict=predict,
    )


def _bound_threads(library: Any, count: int) -> None:
    if count:
        library.set_num_threads(count)
        library.set_num_interop_threads(1)


def _sees_gpu(library: Any) -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1") and library.cuda.is_available()


def _script(library: Any, config: Mapping[str, Any], device: Any) -> Network:
    module = library.jit.load(entry_path(config), map_location=device).eval()
    wanted = module.forward.schema.arguments[1:]  # the first is the module itself
    for each in wanted:
        if str(each.type) != "Tensor" and not each.has_default_value():
            raise Failure(
                "ModelLoadFailed",
                f"forward takes {each.name}: {each.type}; wrap it in a module whose forward takes tensors",
            )
    names = [each.name for each in wanted if not each.has_default_value()]
    return Network(
        call=lambda tensors: module(*(tensors[name] for name in names)),
        names=names,
        algorithm=str(module.original_name),
    )


def _exported(library: Any, config: Mapping[str, Any], device: Any) -> Network:
    path = entry_path(config)
    with open(path, "rb") as file:
        program = importlib.import_module("torch.export").load(path if path.endswith(".pt2") else file)
    if device.type != "cpu":
        program = importlib.import_module("torch.export.passes").move_to_device_pass(program, device)
    names = list(program.graph_signature.user_inputs)
    positional, keywords = _arguments(program, names)
    module = program.module()
    values = {each.name: each.meta.get("val") for each in program.graph.nodes if each.op == "placeholder"}
    return Network(
        call=lambda tensors: module(
            *(tensors[name] for name in positional),
            **{keyword: tensors[name] for keyword, name in keywords.items()},
        ),
        names=names,
        algorithm="ExportedProgram",
        specs=[_declared(library, name, values.get(name)) for name in names],
    )


def _arguments(program: Any, names: List[str]) -> "tuple[List[str], Dict[str, str]]":
    """Which inputs are positional, and the keywords of the others."""
    tree = importlib.import_module("torch.utils._pytree")
    example = tree.tree_unflatten(list(names), program.call_spec.in_spec)
    args, kwargs = example
    if not all(isinstance(each, str) for each in (*args, *kwargs.values())):
        raise Failure(
            "ModelLoadFailed",
            "forward takes lists or dicts of tensors: export a module whose forward takes tensors",
        )
    return list(args), dict(kwargs)


def _declared(library: Any, name: str, value: Any) -> Spec:
    if not isinstance(value, library.Tensor):
        raise Failure("ModelLoadFailed", f"forward takes {name}, which is no tensor: export it as a constant")
    datatype = graphs.array(_plain(library, library.empty(1, dtype=value.dtype)), name)
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    return {**signatures.spec_of(name, datatype), "shape": shape}


def _weights(library: Any, config: Mapping[str, Any], device: Any) -> Network:
    path = entry_path(config)
    directory = os.path.dirname(path)
    kind = getattr(python.imported(os.path.join(directory, "model.py")), "Model", None)
    if not isinstance(kind, type) or not issubclass(kind, library.nn.Module):
        raise Failure(
            "ModelLoadFailed", "model.py defines no class Model(torch.nn.Module): the weights need one"
        )
    module = kind(**_options(directory))
    if config.get("serialization") == "safetensors":
        state = importlib.import_module("safetensors.torch").load_file(path)
    else:
        state = _state(library.load(path, map_location="cpu", weights_only=True))
    _fill(module, state)
    module = module.to(device).eval()
    parameters = inspect.signature(module.forward).parameters.values()
    names = [each.name for each in parameters if each.default is each.empty and each.kind in _GIVEN]
    return Network(call=lambda tensors: module(**tensors), names=names, algorithm=_title(kind))


_GIVEN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _title(kind: type) -> str:
    base = kind.__mro__[1].__name__
    return "Model" if base == "Module" else base


def _options(directory: str) -> Dict[str, Any]:
    """Keyword arguments for the module, from a config.json beside it."""
    path = os.path.join(directory, "config.json")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    if not isinstance(found, dict):
        raise Failure(
            "ModelLoadFailed", "config.json must be an object: keyword arguments of the class Model"
        )
    return found


def _state(loaded: Any) -> Any:
    """The weights themselves, also of a checkpoint that holds more."""
    for key in HOLDERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            return loaded[key]
    return loaded


def _fill(module: Any, state: Any) -> None:
    """Give a module its weights. Raises Failure that names those that do not fit."""
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    shapes = [
        f"{name} is {list(state[name].shape)} and not {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    wrong = [
        f"{what} {', '.join(found[:SHOWN])}" + (", …" if len(found) > SHOWN else "")
        for what, found in (("missing", missing), ("unknown", unknown), ("of another shape:", shapes))
        if found
    ]
    if wrong:
        raise Failure(
            "ModelLoadFailed",
            f"the weights do not fit the class Model: {'; '.join(wrong)}; publish the source that they were "
            "trained with, and its arguments in config.json",
        )
    module.load_state_dict(state)


def _tensor(library: Any, array: Array, device: Any, name: str) -> Any:
    if array.dtype.kind not in "biuf":
        raise Failure("SignatureMismatch", f"inputs.{name}: a PyTorch model takes numbers, not text")
    # What comes off the wire may be read-only, and a network may compute in place.
    return library.from_numpy(array if array.flags.writeable else array.copy()).to(device)


def _plain(library: Any, value: Any) -> Any:
    if not isinstance(value, library.Tensor):
        return value
    value = value.detach()
    if value.is_floating_point() and value.dtype not in (library.float16, library.float32, library.float64):
        value = value.float()
    return value.cpu().numpy()


_OPENERS: Dict[str, Callable[[Any, Mapping[str, Any], Any], Network]] = {
    "torchscript": _script,
    "torch-export": _exported,
    "torch-weights": _weights,
    "safetensors": _weights,
}
