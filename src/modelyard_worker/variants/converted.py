"""What skl2onnx makes of pipelines and linear models."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any, Dict, List, Tuple

from modelyard_worker.variants import imputing
from modelyard_worker.variants.nodes import OPSET
from modelyard_worker.variants.unfit import Unfit


def table(model: Any, width: int, datatype: str) -> Any:
    """The ModelProto of a model that takes one table, its input called `table`. Raises Unfit."""
    kinds = _types()
    return _convert(model, [("table", kinds[datatype]([None, width or None]))])


def columns(model: Any, datatypes: Dict[str, str]) -> Any:
    """The ModelProto of a model that takes named columns [n, 1]. Raises Unfit."""
    kinds = _types()
    return _convert(model, [(name, kinds[datatype]([None, 1])) for name, datatype in datatypes.items()])


def _types() -> Dict[str, Any]:
    if importlib.util.find_spec("skl2onnx") is None:
        raise Unfit("the runtime has no skl2onnx, which compiles such models; add it to the runtime")
    kinds = importlib.import_module("skl2onnx.common.data_types")
    return {"FP64": kinds.DoubleTensorType, "FP32": kinds.FloatTensorType, "BYTES": kinds.StringTensorType}


def _convert(model: Any, inputs: List[Tuple[str, Any]]) -> Any:
    library = importlib.import_module("skl2onnx")
    imputing.register(library)
    options = {"zipmap": False} if hasattr(model, "predict_proba") else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return library.convert_sklearn(
                model, initial_types=inputs, options=options, target_opset={"": OPSET, "ai.onnx.ml": 3}
            )
    except Exception as error:  # whatever a converter trips over, the original remains
        text = " ".join(str(error).split())[:300]
        raise Unfit(f"skl2onnx does not convert it: {type(error).__name__}: {text}") from error
