"""A compiled variant in this process: an ONNX Runtime session between tensors and tensors."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from modelyard.oip.datatypes import BYTES, encode_bytes
from modelyard.oip.errors import Rejected
from modelyard.oip.signature import Signature, TensorSpec
from modelyard.oip.tensor import Tensor, to_array
from modelyard.serving.config import InlineConfig
from modelyard.serving.errors import Problem, ServingError
from modelyard.serving.jobs import Prediction

ABOUT = "modelyard"
"""Key in the graph's metadata under which stands what the original refuses."""
UNKNOWN = "a word that no model knows"
"""What the original was asked about when the variant was made; its refusal quotes it."""
LARGEST = float(np.finfo(np.float32).max)
"""Models that refuse large numbers do so beyond single precision."""


class NotInline(ServingError):
    """The variant cannot be computed in this process; the message says why."""


class Compiled:
    """Answers requests with a graph that has exactly the signature's inputs and outputs."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self._session = session
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        self._names = [spec.name for spec in signature.outputs]
        about = orjson.loads(session.get_modelmeta().custom_metadata_map.get(ABOUT) or "{}")
        self._refuses: Mapping[str, str] = about.get("refuses") or {}
        self._words = {
            name: (frozenset(each["known"]), str(each["text"]))
            for name, each in (about.get("words") or {}).items()
        }
        self._bound = LARGEST if "large" in self._refuses else float("inf")
        self._floats = frozenset(
            spec.name for spec in self._inputs if spec.datatype in ("FP64", "FP32", "FP16")
        )

    def answer(self, inputs: Sequence[Tensor]) -> Prediction | Problem:
        """The prediction, or why there is none; never raises."""
        began = perf_counter()
        try:
            fed = {tensor.name: self._fed(tensor) for tensor in inputs}
            arrays = self._session.run(self._names, fed)
        except Rejected as refusal:
            message = f"the model refused the input: {refusal}"
            return Problem(400, "invalid", message, reason="PredictionFailed")
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own; one request fails, no more
            text = " ".join(str(error).split())[:500]
            message = f"the compiled variant failed: {type(error).__name__}: {text}"
            return Problem(500, "prediction_failed", message, reason="PredictionFailed")
        outputs = tuple(map(_tensor, self._outputs, arrays))
        return Prediction(outputs, perf_counter() - began)

    def _fed(self, tensor: Tensor) -> NDArray[Any]:
        if "empty" in self._refuses and not tensor.shape[0]:
            raise Rejected("", self._refuses["empty"])
        array = to_array(tensor)
        if tensor.datatype == BYTES:
            return self._known(tensor.name, _words(array))
        if not array.flags.aligned:
            array = array.copy()
        if tensor.name in self._floats and self._refuses:
            self._check(array)
        return array

    def _known(self, name: str, words: NDArray[Any]) -> NDArray[Any]:
        """The words; raises Rejected, as the original does, for some that it was never trained on."""
        if name in self._words:
            known, text = self._words[name]
            unknown = sorted(set(words.ravel().tolist()) - known)
            if unknown:
                raise Rejected("", text.replace(repr(UNKNOWN), ", ".join(map(repr, unknown))))
        return words

    def _check(self, array: NDArray[Any]) -> None:
        """Raise Rejected, in the original's words, for values that it does not take."""
        bound = self._bound
        if bool(np.isfinite(array).all() if bound == np.inf else (np.abs(array) <= bound).all()):
            return
        for kind, found in (
            ("nan", np.isnan(array)),
            ("infinite", np.isinf(array)),
            ("large", np.isfinite(array) & (np.abs(array) > bound)),
        ):
            if kind in self._refuses and bool(found.any()):
                raise Rejected("", self._refuses[kind])


def open_variant(config: InlineConfig, signature: Signature) -> Compiled:
    """Read the variant's file, prove that it is the stored one, and open a session on it; raises NotInline.

    The session computes in the calling thread alone: this process has other things to do.
    """
    try:
        content = config.path.read_bytes()
        runtime = importlib.import_module("onnxruntime")
    except (OSError, ImportError) as error:
        raise NotInline(str(error)) from error
    if hashlib.sha256(content).hexdigest() != config.sha256:
        raise NotInline(f"{config.path.name} is not the file that was stored")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # an arena would keep what the largest batch took for ever
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        known = [port.name for port in session.get_inputs()], [port.name for port in session.get_outputs()]
    except Exception as error:
        raise NotInline(f"ONNX Runtime does not open it: {error}") from error
    if known != ([s.name for s in signature.inputs], [s.name for s in signature.outputs]):
        raise NotInline("its inputs and outputs are not those of the signature")
    return Compiled(session, signature)


def _tensor(spec: TensorSpec, array: NDArray[Any]) -> Tensor:
    if spec.datatype == BYTES:
        return Tensor(spec.name, BYTES, array.shape, encode_bytes(str(e).encode() for e in array.ravel()))
    return Tensor(spec.name, spec.datatype, array.shape, array.tobytes())


def _words(array: NDArray[Any]) -> NDArray[Any]:
    words: NDArray[Any] = np.empty(array.size, object)
    words[:] = [element.decode("utf-8", "replace") for element in array.ravel()]
    return words.reshape(array.shape)
