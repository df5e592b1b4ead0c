"""Which distribution a module comes from, and which versions the model was made with and runs on."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any, Dict, Mapping, Optional

from modelyard_worker.failures import Failure

DISTRIBUTIONS: Dict[str, str] = {
    "sklearn": "scikit-learn",
    "skops": "skops",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "skimage": "scikit-image",
    "imblearn": "imbalanced-learn",
    "category_encoders": "category-encoders",
    "sentence_transformers": "sentence-transformers",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "bs4": "beautifulsoup4",
    "jwt": "pyjwt",
    "faiss": "faiss-cpu",
    "umap": "umap-learn",
    "attr": "attrs",
    "google": "protobuf",
    "pkg_resources": "setuptools",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "Crypto": "pycryptodome",
    "fitz": "pymupdf",
    "Bio": "biopython",
    "OpenSSL": "pyopenssl",
    "Levenshtein": "levenshtein",
    "zmq": "pyzmq",
    "jpype": "jpype1",
}
"""Distributions whose name is not that of their module."""

LIBRARIES: Dict[str, str] = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "onnx": "onnxruntime",
    "torch": "torch",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "catboost": "catboost",
    "spark": "pyspark",
    "mlflow": "mlflow",
}
"""The module that reads each format."""


def distribution(module: str) -> str:
    """Name of the distribution to install for `module`, such as `scikit-learn` for `sklearn.linear_model`."""
    top = module.partition(".")[0]
    return DISTRIBUTIONS.get(top, top.replace("_", "-"))


def installed_version(module: str) -> str:
    """Version of an installed library; empty when it is not installed."""
    loaded = getattr(sys.modules.get(module), "__version__", None)
    if isinstance(loaded, str):
        return loaded
    metadata = importlib.import_module("importlib.metadata")  # slow to import, and rarely needed
    for name in (distribution(module), module + "-cpu", module + "-gpu"):
        try:
            return str(metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return ""


def missing_package(module: str) -> Failure:
    """The failure that says which distribution is missing and where to add it."""
    name = distribution(module)
    return Failure(
        "MissingPackage",
        f"the package {name} (module {module}) is not in this runtime: "
        "add it to the version's requirements or choose another --runtime "
        "(a module of your own belongs beside the model's file)",
    )


def version_mismatch(config: Mapping[str, Any], detail: str) -> Optional[Failure]:
    """The failure that names both versions, or None when the versions agree or are not known.

    ONNX files name the operator set and not the runtime's version, so they never disagree.
    """
    module = LIBRARIES.get(str(config.get("format", "")), "")
    recorded = str(config.get("framework_version") or "")
    if not module or module == "onnxruntime":
        return None
    name, present = distribution(module), installed_version(module)
    if present and not recorded and re.search(rf"module (named )?'{module}\.", detail):
        return Failure(
            "VersionMismatch",
            f"the model was made with another {name} than this runtime's {present}: {detail}; "
            f"choose or build a runtime with the {name} that it was trained with",
        )
    if not present or not recorded or minor(present) == minor(recorded):
        return None
    return Failure(
        "VersionMismatch",
        f"the model was made with {name} {recorded}, this runtime has {present}, and the model does not work "
        f"there: {detail}; choose or build a runtime with {name} {minor(recorded)}",
    )


def minor(version: str) -> str:
    """The part of a version within which files stay readable: `1.5` of `1.5.2`."""
    return ".".join(re.findall(r"\d+", version)[:2])
