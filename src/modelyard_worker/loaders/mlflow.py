"""Loads MLflow packages through `mlflow.pyfunc`, for the flavors that no loader of ours reads itself."""

from __future__ import annotations

import importlib
import json
import os
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from modelyard_worker import outputs, requests, signatures
from modelyard_worker.arrays import text
from modelyard_worker.config import entry_path, published
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders.python import named

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

NESTED = ("object", "array", "map", "any")
CLIENT_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
KINDS: Dict[str, Any] = {
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "string": str,
    "datetime": str,
}
"""MLflow's types of parameters in Python's."""

Feed = Callable[[Any], Any]


def load(config: Mapping[str, Any]) -> Loaded:
    """Load the package beside the file MLmodel.

    A request's tensors become what the package's signature asks for: a DataFrame of columns, an array or a
    dict of arrays. Parameters that the signature names are taken from the request's.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    pyfunc = importlib.import_module("mlflow.pyfunc")
    model = pyfunc.load_model(os.path.dirname(entry_path(config)))
    given = published(config)
    schema, answers = model.metadata.get_input_schema(), model.metadata.get_output_schema()
    params = model.metadata.get_params_schema()
    inputs = list(given.get("inputs") or _sampled(given))
    specs, adapt = outputs.declared(given.get("outputs") or (), ())
    names = [str(each["name"]) for each in specs] or _names(answers)
    feed = _feed(inputs, schema)

    def predict(tensors: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        signatures.check(inputs, tensors)
        chosen = _parameters(params.params if params else (), parameters)
        try:
            value = model.predict(feed(tensors), params=chosen or None)
        except Exception as error:
            raise _explained(error) from error
        answer: Arrays = adapt(named(_columns(value), names))
        return answer

    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device="CPU",
        info={
            "framework_version": importlib.import_module("mlflow").__version__,
            "algorithm": _algorithm(model),
            "function": config.get("function") or "unknown",
        },
        predict=predict,
    )


def _algorithm(model: Any) -> str:
    return str(model.metadata.flavors["python_function"].get("loader_module") or "python_function")


def _names(schema: Any) -> List[str]:
    return [str(each) for each in schema.input_names() if isinstance(each, str)] if schema is not None else []


def _sampled(given: Mapping[str, Any]) -> "List[Spec]":
    if given.get("sample") is None:
        return []
    found = requests.rows(given["sample"], ())
    return [signatures.spec_of(name, np.asarray(array)) for name, array in found.items()]


def _feed(inputs: Sequence[Spec], schema: Any) -> Feed:
    """A function from tensors to what the package's predict takes."""
    if schema is not None and schema.is_tensor_spec():
        return _tensors(unnamed=not schema.has_input_names())
    kinds = {} if schema is None else dict(zip(map(_name, inputs), schema.input_types()))
    single = len(inputs) == 1 and len(inputs[0]["shape"]) == 2
    columns = list(inputs[0].get("columns") or ()) if single else []
    pandas = importlib.import_module("pandas")

    def frame(tensors: Arrays) -> Any:
        if any(array.ndim != 1 for array in tensors.values()):
            if len(tensors) != 1:
                return {name: _plain(array) for name, array in tensors.items()}
            array = _plain(next(iter(tensors.values())))
            return pandas.DataFrame(array, columns=columns) if columns else array
        order = [_name(each) for each in inputs] or list(tensors)
        return pandas.DataFrame({name: _column(tensors[name], kinds.get(name), pandas) for name in order})

    return frame


def _tensors(*, unnamed: bool) -> Feed:
    def feed(tensors: Arrays) -> Any:
        plain = {name: _plain(array) for name, array in tensors.items()}
        return next(iter(plain.values())) if unnamed else plain

    return feed


def _name(spec: Spec) -> str:
    return str(spec["name"])


def _plain(array: Array) -> Array:
    if array.dtype.kind != "O":
        return array
    strings: Array = np.empty(array.size, dtype=object)
    strings[:] = text(array)
    return strings.reshape(array.shape)


def _column(array: Array, kind: Any, pandas: Any) -> Any:
    """One column as the schema's type has it: text, bytes, times, and values that travelled as JSON."""
    if array.dtype.kind != "O":
        return array
    name = str(getattr(kind, "name", None) or type(kind).__name__).lower()
    if name == "binary":
        return array
    texts = text(array)
    if name == "datetime":
        try:
            return pandas.to_datetime(texts)
        except (ValueError, TypeError) as error:
            raise Failure("SignatureMismatch", f"a time is not in ISO 8601: {error}") from error
    if name in NESTED or name.startswith("any"):
        return [_parsed(each) for each in texts]
    return texts


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise Failure("SignatureMismatch", f"expected JSON, got {value[:40]!r}: {error}") from error


def _parameters(schema: Sequence[Any], given: Mapping[str, Any]) -> Dict[str, Any]:
    """Those of a request's parameters that the package knows. Raises Failure(SignatureMismatch)."""
    return {each.name: _parameter(each, given[each.name]) for each in schema if each.name in given}


def _parameter(spec: Any, value: Any) -> Any:
    kind = str(spec.dtype.name).lower() if hasattr(spec.dtype, "name") else "json"
    if spec.shape is not None or kind not in KINDS:
        return _parsed(value) if isinstance(value, str) else value
    wanted = KINDS[kind]
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise Failure(
            "SignatureMismatch", f"parameters.{spec.name}: expected {kind}, got {json.dumps(value)}"
        )
    if wanted is int or kind in ("string", "boolean"):
        return value
    return np.datetime64(value) if kind == "datetime" else float(value)


def _columns(value: Any) -> Any:
    """A DataFrame's columns of lists as rows of one length, which `named` can turn into tensors."""
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return {str(name): value[name].tolist() for name in value.columns}
    return value


def _explained(error: Exception) -> Exception:
    """What MLflow refuses of a request is the client's to mend."""
    code: Optional[str] = getattr(error, "error_code", None)
    if code in CLIENT_ERRORS:
        return Failure("SignatureMismatch", f"inputs: {' '.join(str(error).split())[:300]}")
    return error
