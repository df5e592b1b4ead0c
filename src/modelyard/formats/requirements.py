"""Which packages a model needs to load, as far as its files say."""

from __future__ import annotations

import re

from modelyard.domain.model import Format, Serialization
from modelyard.formats.found import Detected

VERSION = re.compile(r"(\d+)\.(\d+)")
FRAMEWORKS = {
    Format.SKLEARN: "scikit-learn",
    Format.LIGHTGBM: "lightgbm",
    Format.CATBOOST: "catboost",
    Format.ONNX: "onnxruntime",
    Format.TORCH: "torch",
    Format.KERAS: "keras",
    Format.TENSORFLOW: "tensorflow-cpu",
    Format.PMML: "pypmml",
    Format.SPARK: "pyspark",
}
LIBRARIES = {
    "sklearn": "scikit-learn",
    "xgboost": "xgboost-cpu",
    "lightgbm": "lightgbm",
    "pandas": "pandas",
    "scipy": "scipy",
    "numpy": "numpy",
    "joblib": "joblib",
}
PACKAGES = {
    Serialization.MLFLOW: ("mlflow",),
    Serialization.HUGGINGFACE_ONNX: ("tokenizers", "onnxruntime"),
    Serialization.HUGGINGFACE_SAFETENSORS: ("tokenizers", "torch", "transformers"),
}
SERIALIZERS = {
    Serialization.JOBLIB: ("joblib",),
    Serialization.SKOPS: ("skops",),
    Serialization.SAFETENSORS: ("safetensors",),
    Serialization.KERAS: ("tensorflow-cpu",),
    Serialization.KERAS_H5: ("tensorflow-cpu",),
}
"""What reads a file besides the framework; a Keras model also needs a library that computes it."""


def requirements(detected: Detected) -> tuple[str, ...]:
    """Distributions that loading needs, such as `scikit-learn==1.5.*`, the framework first.

    A version is pinned to its minor when the file records it. XGBoost 3 and later, and TensorFlow, are asked
    for without their GPU parts.
    """
    if detected.format is Format.PYTHON:
        return ()
    if detected.serialization in PACKAGES:
        return PACKAGES[detected.serialization]
    own = _framework(detected)
    names = [*SERIALIZERS.get(detected.serialization, ())]
    names += [LIBRARIES[name] for name in detected.libraries if name in LIBRARIES]
    if "scikit-learn" in names or detected.format is Format.SKLEARN:
        names = [
            name for name in names if name not in ("joblib", "scipy", "numpy")
        ]  # scikit-learn brings them
    taken = own.partition("=")[0]
    others = dict.fromkeys(name for name in names if name.removesuffix("-cpu") != taken.removesuffix("-cpu"))
    return (own, *others)


def _framework(detected: Detected) -> str:
    match = VERSION.match(detected.framework_version)
    pin = f"=={match[1]}.{match[2]}.*" if match else ""
    if detected.format is Format.XGBOOST:
        return ("xgboost" if match and int(match[1]) < 3 else "xgboost-cpu") + pin
    return FRAMEWORKS[detected.format] + pin
